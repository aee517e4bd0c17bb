"""Takes the inventory of a stage: one pass over its tarball, in bounded memory.

The tarball is hostile input: what is read of each file, and of all together, has limits, and no
file of it can end the pass.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from msgspec.structs import replace

from tasks.archive import decompress, formats
from tasks.archive import members as tar
from tasks.archive.formats import Damaged
from tasks.archive.members import Member, members
from tasks.archive.tarball import Limits, limited
from tasks.artifacts.packages import installed
from tasks.errors import BadInput, of_system
from tasks.host.chroot_paths import LINKS_MAX
from tasks.inspection.contents import Contents
from tasks.inspection.inventory import Entry, Inventory, Kind
from tasks.inspection.kept import Databases
from tasks.inspection.marking import Marking
from tasks.inspection.texts import Texts
from tasks.metering import Meter
from tasks.reporting import Report

FILES_MAX = 4_000_000
"""A tarball with more files is refused; the largest stages have some hundred thousand."""


def scan(
    pieces: Iterator[bytes],
    *,
    name: str,
    report: Report,
    size_bytes: int = 0,
    build_paths: Sequence[bytes] = (),
) -> Inventory:
    """The inventory of the tarball whose bytes are `pieces`; `BadInput` if it is not a complete
    one. `size_bytes` is for the progress; `build_paths` are looked for in all files, since what has
    one was not made for its users' machines."""
    raw = _Raw(pieces, Meter(report, f"read {PurePosixPath(name).name}", total=size_bytes))
    kind = formats.by_content(raw.head())
    if kind is None:
        raise BadInput(f"{name}: not a tarball")
    marking = Marking(build_paths)
    try:
        with tempfile.TemporaryDirectory() as kept:
            contents = Contents(marking, Texts())
            plain = limited(decompress.decompress(raw.read, kind), raw.meter, Limits())
            with decompress.ahead(marking.watched(decompress.joined(plain))) as stream:
                files = _files(stream, contents, Databases(Path(kept)))
            packages = installed(Path(kept))
    except Damaged as error:
        raise BadInput(f"{name}: {error}", error.hint) from error
    except OSError as error:
        raise of_system(error) from error
    return Inventory(
        name=name,
        sha256=raw.digest.hexdigest(),
        size_bytes=raw.meter.done,
        files=_one_name_first(files, contents),
        packages=tuple(packages),
        programs=contents.programs,
        scripts=contents.scripts,
        texts=contents.texts,
        marks=contents.marks,
        compiled=contents.compiled,
    )


def scan_file(tarball: Path, report: Report, build_paths: Sequence[bytes] = ()) -> Inventory:
    """`scan` for a file of this machine; `BadInput` also if it cannot be read."""
    try:
        with tarball.open("rb", buffering=0) as file:
            return scan(
                decompress.pieces_of(file.read),
                name=str(tarball),
                report=report,
                size_bytes=os.fstat(file.fileno()).st_size,
                build_paths=build_paths,
            )
    except OSError as error:
        raise BadInput(f"{tarball}: {error.strerror or error}") from error


class _Raw:
    """The compressed bytes, counted and hashed while they are read."""

    def __init__(self, pieces: Iterator[bytes], meter: Meter) -> None:
        self.meter = meter
        self.digest = hashlib.sha256()
        self._pieces = pieces
        self._piece = b""
        self._at = 0

    def head(self) -> bytes:
        while len(self._piece) < formats.HEAD_BYTES and self._next():
            pass
        return self._piece[: formats.HEAD_BYTES]

    def read(self, size: int) -> bytes:
        if self._at == len(self._piece):
            self._piece, self._at = b"", 0
            self._next()
        data = self._piece[self._at : self._at + size]
        self._at += len(data)
        return data

    def _next(self) -> bool:
        """Append the next piece, which counts as read."""
        more = next(filter(None, self._pieces), b"")
        self._piece += more
        self.digest.update(more)
        self.meter.add(len(more))
        return bool(more)


def _files(stream: Iterator[bytes], contents: Contents, kept: Databases) -> dict[str, Entry]:
    files: dict[str, Entry] = {}
    for member in members(stream):
        path = absolute(member.name)
        if path in files:
            contents.forget(path)
        elif len(files) >= FILES_MAX:
            raise Damaged(f"it has more than {FILES_MAX:,} files")
        files[path] = Entry(
            kind=_KINDS[member.kind],
            mode=member.mode & 0o7777,
            uid=member.uid,
            gid=member.gid,
            size=member.size,
            mtime=member.mtime,
            content=_content(path, member, contents, kept),
            xattrs=member.xattrs,
        )
    return files


_KINDS = {
    tar.FILE: Kind.FILE,
    tar.HARD_LINK: Kind.HARD_LINK,
    tar.LINK: Kind.LINK,
    tar.CHARACTER_DEVICE: Kind.CHARACTER_DEVICE,
    tar.BLOCK_DEVICE: Kind.BLOCK_DEVICE,
    tar.FOLDER: Kind.FOLDER,
    tar.FIFO: Kind.FIFO,
}


def absolute(name: str) -> str:
    """The path in the stage of a name in its tarball."""
    path = "/" + name.removeprefix("./").strip("/")
    if "//" in path or "/./" in path or path.endswith("/."):
        return str(PurePosixPath(path))
    return path


def _content(path: str, member: Member, contents: Contents, kept: Databases) -> str:
    copy = kept.keep(path, member) if kept.wants(path, member) else None
    if member.kind == tar.FILE:
        if copy:
            with copy:
                return contents.read(path, member, copy)
        return contents.read(path, member, None)
    if member.kind in (tar.CHARACTER_DEVICE, tar.BLOCK_DEVICE):
        return "{}:{}".format(*member.device)
    return absolute(member.link) if member.kind == tar.HARD_LINK else member.link


def _one_name_first(files: dict[str, Entry], contents: Contents) -> dict[str, Entry]:
    """`files`, where the first name of each group of hard links is the file itself: which name a
    tarball stores as the file is arbitrary."""
    groups: dict[str, list[str]] = {}
    for path, entry in files.items():
        if entry.kind is Kind.HARD_LINK:
            groups.setdefault(_linked_to(files, path), []).append(path)
    found = dict(files)
    for file, others in groups.items():
        if files[file].kind is Kind.HARD_LINK:
            continue
        first = min(file, *others)
        link = replace(files[file], kind=Kind.HARD_LINK, size=0, content=first)
        found |= {path: link for path in (file, *others) if path != first}
        found[first] = files[file]
        contents.rename(file, first)
    return found


def _linked_to(files: dict[str, Entry], path: str) -> str:
    """The file that `path` finally is a hard link to; `path` itself if there is none."""
    here = path
    for _ in range(LINKS_MAX):
        if here not in files or files[here].kind is not Kind.HARD_LINK:
            break
        here = files[here].content
    return here if here in files else path
