"""Reads the content of one file after another, once: its digest, and what it says of itself."""

from __future__ import annotations

import io
import os
import struct
import tempfile
from typing import IO, Any

from blake3 import blake3

from tasks.archive.members import Data, Member
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
        """Read a file to its end, and write it to `copy` if there is one; returns its digest."""
        first = _first_of(member)
        head = bytes(first[:_HEAD_BYTES])
        is_program = head.startswith(MAGIC)
        if is_program or copy or self._wanted.group_of(path):
            digest = self._read_whole(path, member, first, copy, is_program=is_program)
        else:
            digest = _read(member, first)
        self._look(path, head)
        if marks := self._marking.marks(member.offset, member.offset + member.stored):
            self._mark(path, *(marks - {Mark.PRIVATE_KEY} if is_program else marks))
        return digest

    def _mark(self, path: str, *marks: Mark) -> None:
        if marks:
            self.marks[path] = tuple(sorted({*self.marks.get(path, ()), *marks}))

    def _look(self, path: str, head: bytes) -> None:
        if head.startswith(b"#!"):
            line = head[2:_HEAD_BYTES].partition(b"\n")[0]
            self.scripts[path] = os.fsdecode(line.strip())
        elif path.endswith(".pyc") and len(head) >= _COMPILED.size:
            _, flags, mtime, size = _COMPILED.unpack_from(head)
            if not flags:
                self.compiled[path] = Compiled(source_mtime=mtime, source_size=size)

    def _read_whole(
        self, path: str, member: Member, first: Data, copy: IO[bytes] | None, *, is_program: bool
    ) -> str:
        """Read a file of which more than the beginning is of interest."""
        group = self._wanted.group_of(path)
        copies = (copy,) if copy else ()
        is_kept = group is not None and self._wanted.has_room(group, member.size)
        if (is_program and member.size > PROGRAM_MAX_BYTES) or (group and not is_kept):
            self._mark(path, Mark.UNREAD)
            return _read(member, first, *copies)
        if not is_program and not is_kept:
            return _read(member, first, *copies)
        with _room(member.size) as whole:
            digest = _read(member, first, *copies, whole)
            if is_kept:
                whole.seek(0)
                self.texts[path] = whole.read()
            elif is_program:
                self._read_program(path, whole)
        return digest

    def _read_program(self, path: str, whole: IO[bytes]) -> None:
        whole.seek(0)
        try:
            self.programs[path] = read_program(whole)
        except DamagedProgram:
            self._mark(path, Mark.DAMAGED)


def _first_of(member: Member) -> Data:
    """The first piece of a file, at least _HEAD_BYTES or the whole file."""
    first = next(member.data, b"")
    while len(first) < min(_HEAD_BYTES, member.size):
        first = b"".join((first, next(member.data)))
    return first


def _room(size: int) -> IO[bytes]:
    """A temporary file, in memory if it is small."""
    return io.BytesIO() if size <= _IN_MEMORY_BYTES else tempfile.TemporaryFile()


def _read(member: Member, first: Data, *copies: IO[bytes]) -> str:
    """Read a file after its first piece, and write all of it to `copies`; returns its digest.
    BLAKE3 takes less than half the time of SHA-256."""
    digest = blake3(first)
    for copy in copies:
        copy.write(first)
    for piece in member.data:
        digest.update(piece)
        for copy in copies:
            copy.write(piece)
    return digest.hexdigest()
