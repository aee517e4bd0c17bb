"""Finds the evidence of a stage: in the store, on a mirror, beside the address it was fetched from.

Where it lies proves nothing: who gets it examines it (`orchestrator.origin`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit, urlunsplit

from orchestrator.origin.evidence import FILE_MAX_BYTES, envelopes
from orchestrator.origin.gathering import Found, Read, found_beside, with_rebuilds
from orchestrator.origin.ring import envelope_of
from orchestrator.release.mirror import mirror_at
from orchestrator.release.shelves import Shelves
from tasks.artifacts.provenance import rebuilds_beside
from tasks.errors import HostUnfit
from tasks.results import SeedOrigin
from tasks.store.store import StoredFile
from tasks.trust.statements import read_result

BUILD_URN = "urn:stagefarm:build:"


def read_beside(tarball: StoredFile) -> Read:
    """Reads what lies beside a tarball of a store."""

    def read(name: str) -> bytes | None:
        try:
            return tarball.sibling(name).read(FILE_MAX_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise HostUnfit(f"cannot read {tarball.url}: {error.strerror}") from error

    return read


def evidence_in_store(tarball: StoredFile, sha256: str) -> Found | None:
    """The evidence beside a tarball of the store, with the rebuilds that were recorded there."""
    found = found_beside(tarball.name, sha256, read_beside(tarball))
    if not found:
        return None
    more = [text for content in rebuilds_beside(tarball) for text in envelopes(content)]
    return replace(found, evidence=with_rebuilds(found.evidence, tuple(more)))


def evidence_at(url: str, sha256: str) -> Found | None:
    """The evidence beside the tarball at an address; None if there is none."""
    parts = urlsplit(url)
    folder, _, last = parts.path.rpartition("/")
    name = PurePosixPath(unquote(last)).name
    if parts.scheme not in ("http", "https") or not name:
        return None
    root = urlunsplit(parts._replace(path=folder, query="", fragment=""))
    with mirror_at(root) as mirror:
        return found_beside(name, sha256, lambda beside: mirror.find(beside, FILE_MAX_BYTES))


def evidence_of_build(shelves: Shelves, build: str, batch: str, sha256: str) -> Found:
    """The evidence of the tarball with that digest, which `build` made; `HostUnfit` if the store
    does not have it, `BadInput` if it has nothing of the build."""
    for candidate in shelves.candidates(batch or build):
        if candidate.build == build:
            found = evidence_in_store(candidate.tarball, sha256)
            if found and sha256 in files_of(found).values():
                return found
    raise HostUnfit(f"the store does not have the evidence of {build} any more")


def files_of(found: Found) -> dict[str, str]:
    """The digests of the files of a build, by name."""
    return read_result(envelope_of(found.evidence.result, "the result").payload).files


@dataclass(frozen=True, slots=True, kw_only=True)
class Finder:
    """Looks where evidence may lie: among the stages `at_hand`, by their digests; for a build of a
    chain, in the store; else beside the address that the seed came from. `mirrors` are the URLs
    where stages lie that may be gone, but are no root seeds."""

    store: Shelves
    at_hand: Mapping[str, Callable[[], Found | None]] = field(default_factory=dict)
    batch: str = ""
    mirrors: tuple[str, ...] = ()

    def __call__(self, sha256: str, origin: SeedOrigin) -> Found | None:
        if (known := self.at_hand.get(sha256)) and (found := known()):
            return found
        if origin.uri.startswith(BUILD_URN):
            build = origin.uri.removeprefix(BUILD_URN)
            return evidence_of_build(self.store, build, self.batch, sha256)
        if not origin.uri:
            raise HostUnfit("its host has not said where the seed came from")
        if found := evidence_at(origin.uri, sha256):
            return found
        if any(origin.uri.startswith(f"{url.rstrip('/')}/") for url in self.mirrors):
            raise HostUnfit(f"{origin.uri} is not published any more, or has no evidence beside it")
        return None
