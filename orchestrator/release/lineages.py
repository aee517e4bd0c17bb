"""The lineage of a stage, wherever the stage is: at an address, in a file, in the store."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import msgspec

from orchestrator.origin.attestation import End, Why
from orchestrator.origin.chain import Broken, Lineage, carried_chain, chain_of
from orchestrator.origin.evidence import FILE_MAX_BYTES, evidence_names
from orchestrator.origin.gathering import Found, Gatherer, found_beside
from orchestrator.origin.ring import Ring
from orchestrator.release.catalog import CATALOGS, Stage, read_catalog
from orchestrator.release.evidence_finding import Finder, evidence_at, evidence_in_store, files_of
from orchestrator.release.pointer import CATALOG_MAX_BYTES
from orchestrator.release.shelves import Shelves
from tasks.errors import HostUnfit, Untrusted
from tasks.settings import Settings
from tasks.store.folder import FileStore, FolderFile
from tasks.store.opening import S3
from tasks.store.store import StoredFile

CATALOGS_MAX = 50
"""Of the catalogs of a copied mirror, so many are looked into, the newest first."""


def lineage_at(url: str, ring: Ring) -> Lineage:
    """The lineage of the tarball at an address, which itself is not fetched: whoever has it
    compares its digest. `HostUnfit` where nothing lies beside it."""
    found = evidence_at(url, "")
    if not found:
        raise HostUnfit(f"nothing beside {url} tells where it comes from", "is it a tarball?")
    first = msgspec.structs.replace(found.evidence, sha256=_tarball_of(found))
    return carried_chain(first, found.carried, ring)


def _tarball_of(found: Found) -> str:
    """The digest of the one file of a build that the others are sidecar files of."""
    files = files_of(found)
    tarballs = [
        sha256
        for name, sha256 in files.items()
        if not any(name.startswith(f"{other}.") for other in files if other != name)
    ]
    if len(tarballs) != 1:
        raise Untrusted(f"the result is of {len(tarballs)} tarballs", "fetch it, and give the file")
    return tarballs[0]


def lineage_beside(path: Path, sha256: str, ring: Ring, settings: Settings) -> Lineage:
    """The lineage of a file by what lies beside it, or on the copied mirror in which it lies. What
    lies in this machine's store, and was not published yet, is followed from there."""
    tarball = FolderFile(path)
    found = evidence_in_store(tarball, sha256) or _on_copied_mirror(path, sha256)
    if not found:
        raise Untrusted(
            f"nothing beside {path} tells where it comes from",
            f"copy what the mirror has beside it: {', '.join(evidence_names(path.name)[:2])} ...",
        )
    if found.carried is None and _is_stored(path, settings):
        batch = path.resolve().parents[2].name
        return lineage_in_store(tarball, sha256, batch, ring, Shelves(settings))
    return carried_chain(found.evidence, found.carried, ring)


def _is_stored(path: Path, settings: Settings) -> bool:
    """Whether it lies in the store: `<batch or build>/<build>/<attempt>/<name>`."""
    if settings.store.startswith(S3):
        return False
    root = FileStore.at(settings.store).root.resolve()
    return path.resolve().parent.parent.parent.parent == root


def lineage_in_store(
    tarball: StoredFile, sha256: str, batch: str, ring: Ring, shelves: Shelves
) -> Lineage:
    """The lineage of a tarball of the store, gathered now; `Untrusted` if it is not signed."""
    found = evidence_in_store(tarball, sha256)
    if not found:
        raise Untrusted(f"{tarball.url} is not signed")
    try:
        links, end = Gatherer(Finder(store=shelves, batch=batch), ring).chain(found.evidence)
    except Untrusted as error:
        broken = Broken(number=0, reason=str(error))
        return Lineage(generations=(), end=End(why=Why.MISSING), broken=broken)
    return chain_of([evidence for evidence, _ in links], end, ring)


def _on_copied_mirror(path: Path, sha256: str) -> Found | None:
    """The evidence of a body, `stages/<sha256>/<name>`: the other files have folders of their own,
    which the catalogs tell."""
    root = path.resolve().parent.parent.parent
    catalogs = sorted((root / CATALOGS).glob("*.json"), key=lambda file: -file.stat().st_mtime)
    for file in catalogs[:CATALOGS_MAX]:
        stage = _stage_in(file, sha256)
        if stage:
            paths = {one.name: root / one.path for one in stage.sidecars}
            return found_beside(stage.tarball.name, sha256, partial(_read_small, paths))
    return None


def _stage_in(file: Path, sha256: str) -> Stage | None:
    try:
        if file.stat().st_size > CATALOG_MAX_BYTES:
            return None
        catalog = read_catalog(file.read_bytes(), file.stem)
    except (OSError, Untrusted):
        return None
    return next((stage for stage in catalog.stages if stage.tarball.sha256 == sha256), None)


def _read_small(paths: Mapping[str, Path], name: str) -> bytes | None:
    path = paths.get(name)
    return FolderFile(path).read(FILE_MAX_BYTES) if path and path.is_file() else None
