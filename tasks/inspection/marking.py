"""Looks for marks in the content of files.

The whole stream of a tarball is searched, piece by piece, and what is found there is given to the
file around it: a stage has so many small files that to search each of them takes longer. RE2
searches in linear time whatever the content, and the fastest where nothing is found.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import re2  # type: ignore[import-untyped]

from tasks.archive.pax_headers import BLOCK
from tasks.inspection.inventory import Mark

_OVERLAP_BYTES = 2048
"""No mark is longer."""

_KEY = (
    rb"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----[ \t]*\r?\n"
    rb"(?:[A-Za-z-]+: [^\r\n]*\r?\n){0,4}(?:\r?\n)?"
    rb"[A-Za-z0-9+/=]{16}"
)
"""A key, and not only its first line, as programs and manuals that deal with keys have it."""


class _Hit(NamedTuple):
    """What was found from byte `start` of the stream to before `end`."""

    start: int
    end: int
    mark: Mark


class Marking:
    """Searches a stream, and says which marks a part of it has."""

    def __init__(self, build_paths: Sequence[bytes] = ()) -> None:
        self._wanted = [(Mark.PRIVATE_KEY, _compiled(_KEY))]
        for path in filter(None, build_paths):
            self._wanted.append((Mark.BUILD_PATH, _compiled(re2.escape(path[:_OVERLAP_BYTES]))))
        self._hits: deque[_Hit] = deque()

    def watched(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """The same pieces, after they were searched."""
        before, tail = 0, b""
        for piece in pieces:
            found = list(self._found(piece, before))
            across = self._found(tail + piece[:_OVERLAP_BYTES], before - len(tail))
            found += [hit for hit in across if hit.start < before < hit.end]
            self._hits.extend(sorted(found))
            before += len(piece)
            tail = (tail + piece[-_OVERLAP_BYTES:])[-_OVERLAP_BYTES:]
            yield piece

    def _found(self, text: bytes, offset: int) -> Iterator[_Hit]:
        """One hit of each mark in each file is enough, and the next file begins after a header."""
        for mark, pattern in self._wanted:
            at = 0
            while found := pattern.search(text, at):
                start, end = found.span()
                yield _Hit(offset + start, offset + end, mark)
                at = start + BLOCK

    def marks(self, start: int, end: int) -> set[Mark]:
        """The marks of the file at this part of the stream. Files are asked for in order."""
        found = set()
        while self._hits and self._hits[0].start < end:
            hit = self._hits.popleft()
            if hit.start >= start and hit.end <= end:
                found.add(hit.mark)
        return found


def _compiled(pattern: bytes) -> Any:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.never_capture = True
    return re2.compile(pattern, options)
