"""Reads the headers of the packages in rpm's SQLite database (rpm 4.16 and newer)."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from enum import IntEnum
from pathlib import Path


class Tag(IntEnum):
    """The entries of a header that are read: rpm's docs/manual/tags.md."""

    NAME = 1000
    VERSION = 1001
    RELEASE = 1002
    EPOCH = 1003
    VENDOR = 1011
    LICENCE = 1014
    ARCH = 1022
    SOURCE = 1044


_HEADER_MAX_BYTES = 32 << 20
"""A larger header is not read: those of real packages have a few megabytes at most."""

_QUERY = "select blob from Packages where typeof(blob) = 'blob' and length(blob) <= ?"
_INT32, _STRING = 4, 6


def headers(file: Path) -> Iterator[dict[Tag, str]]:
    """The tags of each package; of a database that is damaged, those before the damage."""
    uri = f"{file.absolute().as_uri()}?immutable=1"
    try:
        with closing(sqlite3.connect(uri, uri=True)) as database:
            if _has_table(database):
                for (blob,) in database.execute(_QUERY, (_HEADER_MAX_BYTES,)):
                    yield _tags(blob)
    except sqlite3.Error:
        return


def _has_table(database: sqlite3.Connection) -> bool:
    """Whether it is a table: a view of that name could return endless rows."""
    query = "select 1 from sqlite_master where name = 'Packages' and type = 'table'"
    return database.execute(query).fetchone() is not None


def _tags(blob: bytes) -> dict[Tag, str]:
    """The values of a package header: two counts, then an index of (tag, type, offset, count), all
    big-endian, then the values. rpm's docs/manual/format_header.md."""
    tags: dict[Tag, str] = {}
    try:
        entries, _ = struct.unpack_from(">II", blob)
        values = 8 + 16 * entries
        for number in range(min(entries, len(blob) // 16)):
            tag, kind, offset, _ = struct.unpack_from(">IIII", blob, 8 + 16 * number)
            if tag in _WANTED and kind in (_INT32, _STRING):
                tags[Tag(tag)] = _value(blob, kind, values + offset)
    except (struct.error, ValueError):
        return {}
    return tags


_WANTED = frozenset(Tag)


def _value(blob: bytes, kind: int, start: int) -> str:
    if kind == _INT32:
        return str(struct.unpack_from(">I", blob, start)[0])
    return blob[start : blob.index(b"\0", start)].decode(errors="replace")
