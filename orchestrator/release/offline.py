"""Verifies one file, without a network: by the pointer and the catalog that lie beside it.

`<channel>.json` and the catalog are looked for in the file's folder, in `catalogs/` there, and, for
a file of a copied mirror or of one of its views, at the mirror's root.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.gate.attestation import LIMIT_BYTES, attestation_name, read_attestation
from orchestrator.release.catalog import CATALOGS, Catalog, File, Stage, read_catalog
from orchestrator.release.pointer import (
    CATALOG_MAX_BYTES,
    POINTER_MAX_BYTES,
    Pointer,
    read_pointer,
)
from tasks.errors import BadInput, Untrusted, of_system
from tasks.metering import Meter
from tasks.reporting import Report
from tasks.trust.keys import PublicKey

PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file that a signed generation names, the files beside it that were verified too, and what
    the gate's statement among them says; empty if there is none."""

    file: File
    stage: Stage
    pointer: Pointer
    sidecars: tuple[str, ...]
    gate: str = ""


def verify_file(path: Path, keys: Sequence[PublicKey], report: Report) -> FoundFile:
    """What a generation that one of `keys` signed says of the file at `path`. `Untrusted` if none
    names it, or it, or one of the files that belong to it, was changed."""
    digest = digest_of_file(path, report)
    pointers = list(_pointers(path, keys))
    if not pointers:
        raise Untrusted(
            f"no pointer beside {path} is signed with the given key",
            "copy <channel>.json of the mirror, and the catalog that it names, beside the file",
        )
    for pointer, catalog in pointers:
        for stage in catalog.stages:
            for file in stage.files:
                if file.sha256 == digest:
                    beside = dict(_sidecars(path, stage, file))
                    gate = _said_by_gate(beside, stage, keys)
                    return FoundFile(file, stage, pointer, tuple(beside), gate)
    versions = ", ".join(f"{pointer.channel} {pointer.version}" for pointer, _ in pointers)
    raise Untrusted(
        f"{path} is in no generation that is signed: {versions}",
        "it was changed, or is of another generation: fetch that one's pointer and catalog",
    )


def digest_of_file(path: Path, report: Report) -> str:
    """The sha256 of a file; shown as `verify`."""
    try:
        meter = Meter(report, "verify", total=path.stat().st_size)
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while piece := file.read(PIECE_BYTES):
                digest.update(piece)
                meter.add(len(piece))
    except OSError as error:
        raise of_system(error) from error
    return digest.hexdigest()


def _pointers(path: Path, keys: Sequence[PublicKey]) -> Iterator[tuple[Pointer, Catalog]]:
    """The signed pointers near the file, newest first, each with its catalog."""
    folder, root = path.absolute().parent, path.resolve().parent.parent.parent
    found = [
        (pointer, near)
        for near in dict.fromkeys((folder, root))
        for file in sorted(near.glob("*.json"))
        if (pointer := _pointer(file, keys))
    ]
    found.sort(key=lambda one: -one[0].version)
    for pointer, near in found:
        yield pointer, _catalog(pointer, (folder, near))


def _pointer(file: Path, keys: Sequence[PublicKey]) -> Pointer | None:
    try:
        if file.stat().st_size <= POINTER_MAX_BYTES:
            return read_pointer(file.read_bytes(), keys, str(file))
    except (OSError, Untrusted):
        pass
    return None


def _catalog(pointer: Pointer, near: Sequence[Path]) -> Catalog:
    name = f"{pointer.catalog}.json"
    for folder in near:
        for file in (folder / name, folder / CATALOGS / name):
            if file.is_file() and file.stat().st_size <= CATALOG_MAX_BYTES:
                return read_catalog(file.read_bytes(), pointer.catalog)
    raise BadInput(
        f"the catalog of {pointer.channel} {pointer.version} is not beside the file",
        f"copy {CATALOGS}/{name} of the mirror there",
    )


def _said_by_gate(beside: dict[str, Path], stage: Stage, keys: Sequence[PublicKey]) -> str:
    """`passed, 1 finding accepted`, by the statement that lies beside the file."""
    path = beside.get(attestation_name(stage.tarball.name))
    if not path or path.stat().st_size > LIMIT_BYTES:
        return ""
    try:
        found = read_attestation(path.read_bytes(), keys, stage.tarball.sha256).predicate
    except Untrusted as error:  # the catalog vouches for the file; a former key may have signed it
        return str(error)
    waived = sum(bool(one.waiver) for one in found.findings)
    said = {"": len(found.findings) - waived, " accepted": waived}
    counts = [f"{n} finding{'s' * (n != 1)}{what}" for what, n in said.items() if n]
    return ", ".join([found.result.lower(), *counts])


def _sidecars(path: Path, stage: Stage, file: File) -> Iterator[tuple[str, Path]]:
    """The stage's other files that are there, by name; `Untrusted` if one was changed."""
    for other in stage.files:
        if other == file:
            continue
        nearby = (path.with_name(other.name), path.resolve().parent.parent.parent / other.path)
        for candidate in nearby:
            if candidate.is_file():
                _require_same(candidate, other)
                yield other.name, candidate
                break


def _require_same(path: Path, file: File) -> None:
    if path.stat().st_size == file.size_bytes:
        with path.open("rb") as opened:
            if hashlib.file_digest(opened, "sha256").hexdigest() == file.sha256:
                return
    raise Untrusted(f"{path} is not what the signed catalog says")
