"""One mirror during a publication: what is there, what is written, and in which order.

    journal -> bodies -> catalog -> files of views -> verified from outside
            -> indexes of views -> verified -> pointer -> removal of what was garbage before

A crash at any point leaves the earlier generation: only the pointer makes the next one current.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from orchestrator.release.catalog import Catalog, File, read_catalog
from orchestrator.release.journal import (
    JOURNAL_MAX_BYTES,
    Journal,
    Named,
    journal_path,
    read_journal,
)
from orchestrator.release.mirror import Mirror, whole
from orchestrator.release.pointer import (
    CATALOG_MAX_BYTES,
    POINTER_MAX_BYTES,
    Pointer,
    pointer_name,
    read_pointer,
)
from orchestrator.release.targets.target import Item, Target
from orchestrator.release.verify import check_content, check_sizes
from orchestrator.release.views.view import ViewFile
from tasks.errors import HostUnfit, StagefarmError, Untrusted
from tasks.metering import Meter
from tasks.model import decode
from tasks.reporting import Report
from tasks.store.store import StoredFile
from tasks.trust.envelope import from_text
from tasks.trust.keys import PublicKey

MARK_CHARS = 16

SourceOf = Callable[[File], StoredFile | None]
"""Where a file of the catalog is in the store, None if it is not there."""


@dataclass(slots=True)
class Mirrored:
    """A mirror, and the generation that it shows: None for an empty one."""

    target: Target
    channel: str
    text: bytes | None = None
    pointer: Pointer | None = None
    catalog: Catalog | None = None
    journal: Journal = field(default_factory=Journal)

    @property
    def version(self) -> int:
        return self.pointer.version if self.pointer else 0

    @property
    def has(self) -> set[str]:
        """The paths of the files of the generation that it shows."""
        return {file.path for file in self.catalog.files} if self.catalog else set()

    def new_in(self, catalog: Catalog) -> list[File]:
        """The files of `catalog` that the generation that it shows does not have."""
        has = self.has
        return [file for file in catalog.files if file.path not in has]


def look(target: Target, channel: str, keys: Sequence[PublicKey], now: float) -> Mirrored:
    """What `target` shows now; `Untrusted` if its pointer is not signed with one of `keys`."""
    name = pointer_name(channel)
    found = Mirrored(target, channel, text=target.read(name, POINTER_MAX_BYTES))
    named: Named = {}
    if found.text is not None:
        found.pointer = read_pointer(found.text, keys, f"{target.label}/{name}")
        found.catalog = catalog_on(target, found.pointer.catalog)
        named = named_by(found.catalog)
    journal = read_journal(target.read(journal_path(channel), JOURNAL_MAX_BYTES))
    at = found.pointer.created_at if found.pointer else now
    found.journal = journal.settled(found.version, named, at, now)
    return found


def catalog_on(target: Target, sha256: str) -> Catalog:
    """The catalog with that digest; `Untrusted` if another one is in its place, `HostUnfit` if
    none."""
    path = f"catalogs/{sha256}.json"
    content = target.read(path, CATALOG_MAX_BYTES)
    if content is None:
        raise HostUnfit(f"{target.label}/{path} is missing", "was it removed by hand?")
    return read_catalog(content, sha256)


def named_by(catalog: Catalog, shown: Iterable[ViewFile] = ()) -> Named:
    """The paths that a generation and its views name, each with a mark of its content."""
    files = {file.path: file.sha256[:MARK_CHARS] for file in catalog.files}
    views = {file.path: mark_of(file) for file in shown}
    return {**files, **views, catalog.path: ""}


def mark_of(file: ViewFile) -> str:
    found = file.body.sha256 if file.body else hashlib.sha256(file.content).hexdigest()
    return found[:MARK_CHARS]


# Writing


def items_of(files: Iterable[File], source_of: SourceOf, target: Target) -> list[Item]:
    """What has to be written for `files`; `HostUnfit` if one of them is neither on the mirror nor
    in the store."""
    wanted = [
        Item(path=file.path, size_bytes=file.size_bytes, sha256=file.sha256) for file in files
    ]
    by_path = {file.path: file for file in files}
    found = []
    for item in target.missing(wanted):
        source = source_of(by_path[item.path])
        if not source:
            raise HostUnfit(
                f"{item.path} is neither on {target.label} nor in the store",
                "see `stagefarm release list` for the generations that are whole",
            )
        found.append(replace(item, source=source))
    return found


def write_journal(mirrored: Mirrored, journal: Journal) -> None:
    item = Item(path=journal_path(mirrored.channel), content=journal.content)
    mirrored.target.put([item], lambda _: None)
    mirrored.journal = journal


def write_bodies(mirrored: Mirrored, catalog: Catalog, source_of: SourceOf, report: Report) -> int:
    """Write what is missing of the catalog's files, then the catalog; returns the bytes written."""
    items = items_of(mirrored.new_in(catalog), source_of, mirrored.target)
    meter = Meter(report, "upload", total=sum(item.size_bytes for item in items))
    mirrored.target.put(items, meter.add)
    content = catalog.content
    mirrored.target.put([Item(path=catalog.path, content=content)], lambda _: None)
    meter.finish()
    return meter.done + len(content)


def view_item(file: ViewFile) -> Item:
    return Item(
        path=file.path,
        content=file.content,
        body=file.body.path if file.body else "",
        size_bytes=file.body.size_bytes if file.body else len(file.content),
    )


def new_views(mirrored: Mirrored, files: Sequence[ViewFile]) -> list[ViewFile]:
    """Those of the views' files that the generation before has not written just so."""
    journal = mirrored.journal
    return [file for file in files if not journal.has(file.path, mark_of(file))]


def write_views(mirrored: Mirrored, files: Sequence[ViewFile]) -> list[ViewFile]:
    """Write files of views; returns them."""
    mirrored.target.put([view_item(file) for file in files], lambda _: None)
    return list(files)


# Verifying, through the public URL


def verify_bodies(
    mirror: Mirror,
    catalog: Catalog,
    fresh: Sequence[File],
    verified: Collection[str],
    report: Report,
) -> None:
    """Fetch the catalog, and the files of it in `fresh`; of those in `verified`, which were
    verified for an earlier generation, only the size."""
    content = catalog.content
    if whole(mirror, catalog.path, len(content)) != content:
        raise Untrusted(f"{mirror.url}/{catalog.path} is not what was written there")
    check_content(mirror, [file for file in fresh if file.path not in verified], report)
    check_sizes(mirror, [file for file in fresh if file.path in verified], report)


def verify_views(mirror: Mirror, files: Sequence[ViewFile]) -> None:
    """Fetch the views' own files, and ask for the size of the bodies that they show."""
    for file in files:
        if not _is_shown(mirror, file):
            raise Untrusted(f"{mirror.url}/{file.path} is not what was written there")


def _is_shown(mirror: Mirror, file: ViewFile) -> bool:
    if file.body:
        return mirror.size(file.path) == file.body.size_bytes
    return whole(mirror, file.path, len(file.content)) == file.content


# Removing


def due_of(mirrored: Mirrored, grace_s: float, now: float) -> list[str]:
    """The garbage whose grace is over, and that no other channel of the mirror mentions."""
    due = mirrored.journal.due(now - grace_s)
    if not due:
        return []
    others = _mentioned_by_others(mirrored)
    return [path for path in due if path not in others]


def _mentioned_by_others(mirrored: Mirrored) -> set[str]:
    found: set[str] = set()
    for name in mirrored.target.pointers():
        channel = name.removesuffix(".json")
        if channel == mirrored.channel:
            continue
        journal = read_journal(mirrored.target.read(journal_path(channel), JOURNAL_MAX_BYTES))
        found |= journal.mentioned
        if text := mirrored.target.read(name, POINTER_MAX_BYTES):
            found |= _named_by(mirrored.target, text)
    return found


def _named_by(target: Target, text: bytes) -> set[str]:
    """What another channel's pointer names, whoever signed it; nothing if it is no pointer."""
    try:
        pointer = decode(from_text(text.decode()).payload, Pointer)
    except (StagefarmError, UnicodeDecodeError):
        return set()
    catalog = catalog_on(target, pointer.catalog)
    return {catalog.path, *(file.path for file in catalog.files)}


def remove_due(mirrored: Mirrored, paths: Sequence[str]) -> None:
    """Remove files that the journal on the mirror lists as garbage, then note that they are
    gone."""
    if paths:
        mirrored.target.remove(paths)
        write_journal(mirrored, mirrored.journal.without(paths))
