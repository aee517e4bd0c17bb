"""Compares two tarballs: their files, byte by byte, and their installed packages."""

from __future__ import annotations

import hashlib
import os
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from tasks.archive import decompress, formats
from tasks.archive.formats import Damaged
from tasks.artifacts.packages import DATABASES, Package, installed
from tasks.errors import BadInput
from tasks.host.chroot_paths import LINKS_MAX
from tasks.host.pipes import CHUNK_BYTES
from tasks.metering import Meter
from tasks.reporting import Report

_KEPT_MAX_BYTES = 256 << 20
"""A larger file of a package database is not read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file of a tarball; `content` is a checksum, the target of a link, or a device number."""

    kind: str
    mode: str
    owner: str
    size: int
    time: float
    content: str
    xattrs: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """The content of one tarball."""

    files: dict[str, Entry]
    packages: list[Package]
    size_bytes: int

    @property
    def unpacked_bytes(self) -> int:
        return sum(entry.size for entry in self.files.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """A file in both that differs; `what` are names of the fields of `Entry`."""

    path: str
    what: tuple[str, ...]
    size_before: int
    size_after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgraded:
    """A package in both with different versions."""

    manager: str
    name: str
    before: tuple[str, ...]
    after: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The changes from one tarball to another."""

    files_added: tuple[str, ...]
    files_removed: tuple[str, ...]
    files_changed: tuple[Changed, ...]
    packages_added: tuple[Package, ...]
    packages_removed: tuple[Package, ...]
    packages_changed: tuple[Upgraded, ...]
    size_before: int
    size_after: int
    unpacked_before: int
    unpacked_after: int

    @property
    def is_empty(self) -> bool:
        return not any((self.files_added, self.files_removed, self.files_changed))


def read(tarball: Path, report: Report) -> Content:
    """The content of `tarball`; `BadInput` if it is not a complete tarball."""
    meter = Meter(report, f"read {tarball.name}")
    try:
        with tarball.open("rb", buffering=0) as file, tempfile.TemporaryDirectory() as kept:
            meter.total = file.seek(0, 2)
            kind = formats.by_content(_head(file))
            if kind is None:
                raise BadInput(f"{tarball}: not a tarball")
            stream = _Stream(decompress.decompress(file.read, kind), file, meter)
            files = _one_name_first(dict(_entries(stream, Path(kept))))
            return Content(files=files, packages=installed(Path(kept)), size_bytes=meter.total)
    except (tarfile.TarError, Damaged) as error:
        raise BadInput(f"{tarball}: {error}") from error
    except OSError as error:
        raise BadInput(f"{tarball}: {error.strerror or error}") from error


def difference(before: Content, after: Content, *, times: bool = True) -> Difference:
    """The changes from `before` to `after`; modification times are compared only with `times`."""
    olds, news = _by_name(before.packages), _by_name(after.packages)
    return Difference(
        files_added=tuple(sorted(after.files.keys() - before.files.keys())),
        files_removed=tuple(sorted(before.files.keys() - after.files.keys())),
        files_changed=tuple(_changes(before.files, after.files, times=times)),
        packages_added=tuple(p for p in after.packages if _key(p) not in olds),
        packages_removed=tuple(p for p in before.packages if _key(p) not in news),
        packages_changed=tuple(
            Upgraded(manager=key[0], name=key[1], before=olds[key], after=news[key])
            for key in sorted(olds.keys() & news.keys())
            if olds[key] != news[key]
        ),
        size_before=before.size_bytes,
        size_after=after.size_bytes,
        unpacked_before=before.unpacked_bytes,
        unpacked_after=after.unpacked_bytes,
    )


def _key(package: Package) -> tuple[str, str]:
    return package.manager, package.full_name


def _by_name(packages: list[Package]) -> dict[tuple[str, str], tuple[str, ...]]:
    """The versions of each package; one can be installed in several slots or architectures."""
    found: dict[tuple[str, str], list[str]] = {}
    for package in packages:
        found.setdefault(_key(package), []).append(package.version)
    return {key: tuple(versions) for key, versions in found.items()}


def _changes(
    before: dict[str, Entry], after: dict[str, Entry], *, times: bool
) -> Iterator[Changed]:
    for path in sorted(before.keys() & after.keys()):
        old, new = before[path], after[path]
        what = tuple(
            item.name
            for item in fields(Entry)
            if getattr(old, item.name) != getattr(new, item.name) and (times or item.name != "time")
        )
        if what:
            yield Changed(path=path, what=what, size_before=old.size, size_after=new.size)


class _Stream:
    """The decompressed bytes of a tarball, for `tarfile`."""

    def __init__(self, pieces: Iterator[bytes], file: BinaryIO, meter: Meter) -> None:
        self._pieces = pieces
        self._file = file
        self._meter = meter
        self._rest = b""
        self._given = self._used = 0

    def read(self, size: int) -> bytes:
        parts = []
        while size > 0 and (self._rest or self._next()):
            part, self._rest = self._rest[:size], self._rest[size:]
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _next(self) -> bool:
        self._rest = next(self._pieces, b"")
        if filled := len(self._rest.rstrip(b"\0")):
            self._used = self._given + filled
        self._given += len(self._rest)
        self._meter.reach(self._file.tell())
        return bool(self._rest)

    def check_end(self, at: int) -> None:
        """`Damaged` unless the archive ends at byte `at` with zeros, and nothing else: `tarfile`
        reads no further, and treats an unreadable header as the end."""
        while self._next():
            pass
        if self._used > at:
            raise Damaged("it is damaged, or something else follows its end")
        if self._given == at:
            raise Damaged("it ends too early")


def _head(file: BinaryIO) -> bytes:
    file.seek(0)
    head = file.read(formats.HEAD_BYTES)
    file.seek(0)
    return head


def _entries(stream: _Stream, kept: Path) -> Iterator[tuple[str, Entry]]:
    """Each file of the tarball; package databases are also written below `kept`."""
    with tarfile.open(fileobj=cast("BinaryIO", stream), mode="r|") as tar:
        for member in tar:
            path = _path(member.name)
            keep = _kept_as(member, kept)
            yield (
                path,
                Entry(
                    kind=_KINDS.get(member.type, "file"),
                    mode=f"{member.mode:04o}",
                    owner=f"{member.uid}:{member.gid}",
                    size=member.size,
                    time=float(member.mtime),
                    content=_content(tar, member, keep),
                    xattrs=repr(sorted(_xattrs(member))),
                ),
            )
        stream.check_end(tar.offset)


def _path(name: str) -> str:
    return str(PurePosixPath("/", name.lstrip("/")))


def _one_name_first(files: dict[str, Entry]) -> dict[str, Entry]:
    """`files`, where the first name of each group of hard links is the file itself: which name a
    tarball stores as the file is arbitrary."""
    groups: dict[str, list[str]] = {}
    for path in files:
        groups.setdefault(_linked_to(files, path), []).append(path)
    found = dict(files)
    for file, paths in groups.items():
        first = min(paths)
        link = replace(files[file], kind=_HARD_LINK, size=0, content=first)
        if files[file].kind != _HARD_LINK:
            found |= {path: link for path in paths if path != first} | {first: files[file]}
    return found


def _linked_to(files: dict[str, Entry], path: str) -> str:
    """The file that `path` finally is a hard link to; `path` itself if there is none."""
    here = path
    for _ in range(LINKS_MAX):
        if here not in files or files[here].kind != _HARD_LINK:
            break
        here = _path(files[here].content)
    return here if here in files else path


_HARD_LINK = "hard link"
_KINDS = {
    tarfile.DIRTYPE: "folder",
    tarfile.SYMTYPE: "link",
    tarfile.LNKTYPE: _HARD_LINK,
    tarfile.CHRTYPE: "character device",
    tarfile.BLKTYPE: "block device",
    tarfile.FIFOTYPE: "fifo",
}


def _xattrs(member: tarfile.TarInfo) -> Iterator[tuple[str, str]]:
    return (pair for pair in member.pax_headers.items() if pair[0].startswith("SCHILY."))


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo, keep: Path | None) -> str:
    if member.ischr() or member.isblk():
        return f"{member.devmajor}:{member.devminor}"
    if not (member.isreg() and (opened := tar.extractfile(member))):
        return member.linkname
    digest = hashlib.sha256()
    with opened, (keep or Path(os.devnull)).open("wb") as copy:
        while piece := opened.read(CHUNK_BYTES):
            digest.update(piece)
            copy.write(piece)
    return digest.hexdigest()


def _kept_as(member: tarfile.TarInfo, kept: Path) -> Path | None:
    """The path below `kept` for a file of a package database, else None. Makes its folder."""
    path = PurePosixPath(member.name.lstrip("/"))
    inside = any(path.is_relative_to(place) for place in DATABASES)
    if not inside or ".." in path.parts or member.size > _KEPT_MAX_BYTES:
        return None
    if path.is_relative_to("var/db/pkg") and member.isreg() and path.name != "SLOT":
        return None
    if not (member.isreg() or member.isdir()):
        return None
    place = kept / path
    (place if member.isdir() else place.parent).mkdir(parents=True, exist_ok=True)
    return place if member.isreg() else None
