"""Looks for marks in the content of files, also across the borders of the pieces they come in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import re2  # type: ignore[import-untyped]

from tasks.inspection.inventory import Mark

_OVERLAP_BYTES = 2048
"""Longer than anything that is looked for."""

_KEY = re.compile(
    rb"-----BEGIN (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----[ \t]*\r?\n"
    rb"(?:[A-Za-z-]{1,30}: [^\r\n]{0,200}\r?\n){0,4}(?:\r?\n)?"
    rb"[A-Za-z0-9+/=]{16,}"
)
"""A key, and not only its first line, as it is in the programs and manuals that deal with keys."""

_SIGN = b"PRIVATE KEY"


def _literal(sign: bytes) -> Any:
    """A search for `sign`: RE2 has a faster one than Python for what is rare."""
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.literal = True
    return re2.compile(sign, options)


class Marking:
    """What to look for; the same for all files."""

    def __init__(self, build_paths: Sequence[bytes]) -> None:
        self._keys = _literal(_SIGN)
        self._paths = [_literal(path.rstrip(b"/")[:_OVERLAP_BYTES]) for path in build_paths if path]

    def marks_of(self, text: bytes) -> Iterator[Mark]:
        if self._keys.search(text) and _KEY.search(text):
            yield Mark.PRIVATE_KEY
        if any(path.search(text) for path in self._paths):
            yield Mark.BUILD_PATH


class Marks:
    """The marks of one file, whose pieces are given in order."""

    def __init__(self, marking: Marking) -> None:
        self._marking = marking
        self._tail = b""
        self.found: set[Mark] = set()

    def add(self, piece: bytes) -> None:
        if self._tail:
            self.found.update(self._marking.marks_of(self._tail + piece[:_OVERLAP_BYTES]))
        self.found.update(self._marking.marks_of(piece))
        self._tail = (self._tail + piece[-_OVERLAP_BYTES:])[-_OVERLAP_BYTES:]
