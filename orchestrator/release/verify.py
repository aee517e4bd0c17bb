"""What a client does that knows only a mirror's URL and the release's public key.

The publisher does the same before it moves the pointer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.display.times import moment
from orchestrator.release.catalog import Catalog, File, read_catalog
from orchestrator.release.mirror import Mirror, whole
from orchestrator.release.pointer import (
    POINTER_MAX_BYTES,
    Pointer,
    pointer_name,
    read_pointer,
)
from tasks.errors import Untrusted
from tasks.metering import Meter
from tasks.reporting import Report
from tasks.trust.keys import PublicKey


@dataclass(frozen=True, slots=True)
class Seen:
    """The newest pointer of a channel that this machine has seen."""

    version: int = 0
    catalog: str = ""
    created_at: float = 0.0


def current_pointer(
    mirror: Mirror, channel: str, keys: Sequence[PublicKey], *, now: float, seen: Seen
) -> Pointer:
    """The pointer of `channel`; `Untrusted` if it is not signed with one of `keys`, has expired, or
    is older than the one that was seen."""
    name = pointer_name(channel)
    what = f"{mirror.url}/{name}"
    pointer = read_pointer(whole(mirror, name, POINTER_MAX_BYTES), keys, what)
    if pointer.channel != channel:
        raise Untrusted(f"{what} is the pointer of another channel, {pointer.channel}")
    require_forward(pointer, seen, what)
    if pointer.expires_at < now:
        raise Untrusted(
            f"{what} has expired on {moment(pointer.expires_at)}: the mirror may hold back newer "
            "generations",
            "try another mirror, or ask the maintainers of the release",
        )
    return pointer


def require_forward(pointer: Pointer, seen: Seen, what: str) -> None:
    """`Untrusted` if `pointer` goes back in time."""
    if pointer.version < seen.version:
        raise Untrusted(
            f"{what} is of version {pointer.version}, but version {seen.version} was seen before: "
            "the mirror has gone back in time",
            "try another mirror, or ask the maintainers of the release",
        )
    if pointer.version == seen.version and pointer.catalog != seen.catalog:
        raise Untrusted(f"{what}: there are two different generations of version {seen.version}")


def seen_of(pointer: Pointer) -> Seen:
    return Seen(pointer.version, pointer.catalog, pointer.created_at)


def fetch_catalog(mirror: Mirror, pointer: Pointer) -> Catalog:
    """The catalog that `pointer` names; `Untrusted` if it is another, or of another generation."""
    content = whole(mirror, pointer.catalog_path, pointer.catalog_bytes)
    catalog = read_catalog(content, pointer.catalog)
    said = (catalog.release, catalog.channel, catalog.version)
    if said != (pointer.release, pointer.channel, pointer.version):
        raise Untrusted(f"the catalog is of another generation than the pointer: {said}")
    return catalog


def check_content(mirror: Mirror, files: Sequence[File], report: Report) -> None:
    """Fetch each file, and compare size and digest; `Untrusted` if one differs."""
    meter = Meter(report, "verify", total=sum(file.size_bytes for file in files))
    for file in files:
        digest, size = hashlib.sha256(), 0
        for piece in mirror.pieces(file.path, file.size_bytes):
            digest.update(piece)
            size += len(piece)
            meter.add(len(piece))
        if (size, digest.hexdigest()) != (file.size_bytes, file.sha256):
            raise Untrusted(
                f"{mirror.url}/{file.path} is not what the catalog says: "
                f"{size:,} bytes of {file.size_bytes:,}, sha256 {digest.hexdigest()[:12]}…"
            )
    meter.finish()


def check_sizes(mirror: Mirror, files: Sequence[File], report: Report) -> None:
    """Ask for the size of each file; `Untrusted` if one is missing or differs."""
    meter = Meter(report, "check", total=len(files), unit="files")
    for file in files:
        found = mirror.size(file.path)
        if found != file.size_bytes:
            said = "is missing" if found is None else f"has {found:,} bytes"
            raise Untrusted(f"{mirror.url}/{file.path} {said}, not {file.size_bytes:,}")
        meter.add(1)
    meter.finish()
