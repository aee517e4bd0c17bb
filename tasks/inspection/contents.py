"""Reads the content of one file after another, once: its digest, and what it says of itself."""

from __future__ import annotations

import hashlib
import os
import struct
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from typing import IO, Any, cast

from tasks.archive.members import Member
from tasks.inspection.inventory import Compiled, Mark, Program
from tasks.inspection.marking import Marking
from tasks.inspection.programs import MAGIC, DamagedProgram, read_program
from tasks.inspection.texts import Texts

PROGRAM_MAX_BYTES = 1 << 30
"""The headers of a larger program are not read."""

_HEAD_BYTES = 512
_IN_MEMORY_BYTES = 16 << 20
_COMPILED = struct.Struct("<4sIII")


class Contents:
    """What the content of the files so far has said, by path."""

    def __init__(self, marking: Marking, texts: Texts) -> None:
        self._marking = marking
        self._wanted = texts
        self.programs: dict[str, Program] = {}
        self.scripts: dict[str, str] = {}
        self.texts: dict[str, bytes] = {}
        self.marks: dict[str, tuple[Mark, ...]] = {}
        self.compiled: dict[str, Compiled] = {}

    def forget(self, path: str) -> None:
        """Another file of the same name follows, which is the one that counts."""
        for found in self._all():
            found.pop(path, None)

    def rename(self, path: str, new: str) -> None:
        for found in self._all():
            if path in found:
                found[new] = found.pop(path)

    def _all(self) -> tuple[dict[str, Any], ...]:
        return self.programs, self.scripts, self.texts, self.marks, self.compiled

    def read(self, path: str, member: Member, copy: IO[bytes] | None) -> str:
        """Read a file to its end, and write it to `copy` if there is one; returns its sha256."""
        pieces = _with_head(member)
        head = next(pieces)
        group = self._wanted.group_of(path)
        is_kept = bool(group and self._wanted.has_room(group, member.size))
        is_program = head.startswith(MAGIC)
        self._look(path, head)
        with _room(is_kept or (is_program and member.size <= PROGRAM_MAX_BYTES)) as whole:
            sha256 = _read(head, pieces, [file for file in (copy, whole) if file])
            marks = self._marking.marks(member.offset, member.offset + member.stored)
            if is_program:
                marks.discard(Mark.PRIVATE_KEY)
                marks.update(self._look_into(path, whole))
            if whole and is_kept:
                whole.seek(0)
                self.texts[path] = whole.read()
        if group and not is_kept:
            marks.add(Mark.UNREAD)
        if marks:
            self.marks[path] = tuple(sorted(marks))
        return sha256

    def _look(self, path: str, head: bytes) -> None:
        if head.startswith(b"#!"):
            line = head[2:_HEAD_BYTES].partition(b"\n")[0]
            self.scripts[path] = os.fsdecode(line.strip())
        elif path.endswith(".pyc") and len(head) >= _COMPILED.size:
            _, flags, mtime, size = _COMPILED.unpack_from(head)
            if not flags:
                self.compiled[path] = Compiled(source_mtime=mtime, source_size=size)

    def _look_into(self, path: str, whole: IO[bytes] | None) -> Iterator[Mark]:
        if not whole:
            yield Mark.UNREAD
            return
        whole.seek(0)
        try:
            self.programs[path] = read_program(whole)
        except DamagedProgram:
            yield Mark.DAMAGED


def _with_head(member: Member) -> Iterator[bytes]:
    """The content of a file; the first piece has at least _HEAD_BYTES, or is the whole file."""
    head = next(member.data, b"")
    while len(head) < min(_HEAD_BYTES, member.size):
        head += next(member.data)
    return chain((head,), member.data)


def _read(head: bytes, pieces: Iterator[bytes], copies: list[IO[bytes]]) -> str:
    """Read the rest of a file, and write all of it to `copies`; returns its sha256."""
    digest = hashlib.sha256(head)
    for copy in copies:
        copy.write(head)
    for piece in pieces:
        digest.update(piece)
        for copy in copies:
            copy.write(piece)
    return digest.hexdigest()


def _room(wanted: bool) -> AbstractContextManager[IO[bytes] | None]:  # noqa: FBT001
    """A file for the whole content, in memory if it is small."""
    if not wanted:
        return _NO_ROOM
    return cast("IO[bytes]", tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES))


_NO_ROOM = nullcontext(None)
