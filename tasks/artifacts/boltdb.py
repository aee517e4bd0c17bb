"""Reading a BoltDB file, the database of anise: buckets of keys and values in a B+ tree of pages.

The layout is that of go.etcd.io/bbolt, version 2 (`page.go`, `meta.go`, `bucket.go`), with numbers
in the byte order of the machine that wrote it. There is no lock, and no recovery: the file is one
that nobody writes to any more. A hostile file ends in `Damaged`: as in a sound one, no page is
read twice, and all its parts together are not larger than the file.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

MAGIC = 0xED0CDAED
VERSION = 2
BRANCH, LEAF = 0x01, 0x02
BUCKET = 0x01
HEADER_BYTES = ELEMENT_BYTES = 16
META_BYTES = 64
PAGE_BYTES = [2**power for power in range(9, 21)]
FILE_MAX_BYTES = 256 << 20
"""No database of packages is larger."""

FNV_OFFSET, FNV_PRIME = 0xCBF29CE484222325, 0x100000001B3


class Damaged(Exception):
    """The file is no BoltDB, or not whole."""


class Item(NamedTuple):
    """A key of a bucket, and its value, or the bucket that it names."""

    key: bytes
    value: bytes
    is_bucket: bool


def values(file: Path, *buckets: bytes) -> list[bytes]:
    """The plain values in the last of `buckets`, each of which is in the one before, the first at
    the top; empty where there is no such bucket; `Damaged` where the file is not sound."""
    with file.open("rb") as opened:
        if not META_BYTES < opened.seek(0, os.SEEK_END) <= FILE_MAX_BYTES:
            raise Damaged("it is too short or too long")
        with closing(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)) as data:
            try:
                return list(_values(data, buckets))
            except struct.error as error:
                raise Damaged("it is not whole") from error


def _values(data: mmap.mmap, buckets: Sequence[bytes]) -> Iterator[bytes]:
    tree = _newest(data)
    items = tree.items(tree.root)
    for name in buckets:
        found = next((one for one in items if one.is_bucket and one.key == name), None)
        items = tree.bucket(found.value) if found else iter(())
    yield from (item.value for item in items if not item.is_bucket)


def _newest(data: mmap.mmap) -> _Tree:
    """The tree of the newer of the two states that the file holds."""
    places = (0, *PAGE_BYTES)  # the second state is in the second page, of whatever size
    found = [state for order in "<>" for place in places for state in _states(data, order, place)]
    if not found:
        raise Damaged("it is no BoltDB")
    return max(found, key=lambda pair: pair[0])[1]


def _states(data: mmap.mmap, order: str, place: int) -> Iterator[tuple[int, _Tree]]:
    """The state that the page at `place` describes, with its number; none if it is not valid."""
    block = data[place + HEADER_BYTES : place + HEADER_BYTES + META_BYTES]
    if len(block) < META_BYTES:
        return
    magic, version, page_bytes, _flags, root, _sequence, _free, _pages, number, checksum = (
        struct.unpack(f"{order}IIIIQQQQQQ", block)
    )
    sound = magic == MAGIC and version == VERSION and page_bytes in PAGE_BYTES
    if sound and checksum == fnv(block[:-8]):
        yield number, _Tree(data=data, order=order, page_bytes=page_bytes, root=root)


def fnv(block: bytes) -> int:
    """FNV-1a with 64 bits."""
    found = FNV_OFFSET
    for byte in block:
        found = (found ^ byte) * FNV_PRIME % 2**64
    return found


@dataclass(slots=True, kw_only=True)
class _Tree:
    data: mmap.mmap
    order: str
    page_bytes: int
    root: int
    _seen: set[int] = field(default_factory=set)
    _read_bytes: int = 0

    def items(self, page: int) -> Iterator[Item]:
        """All that is below `page`, in order."""
        pending = [self._first_time(page)]
        while pending:
            block = self._page(pending.pop())
            flags, count = self._unpack("HH", block, 8)
            if flags == BRANCH:
                below = [self._below(block, number) for number in range(count)]
                pending += reversed([self._first_time(page) for page in below])
            elif flags == LEAF:
                yield from self._leaf(block, count)
            else:
                raise Damaged("a page of it is of no known kind")

    def bucket(self, value: bytes) -> Iterator[Item]:
        """All in the bucket that `value` describes: its first page, or its only one, inline."""
        (root,) = self._unpack("Q", value, 0)
        if root:
            yield from self.items(root)
        else:
            block = value[HEADER_BYTES:]
            yield from self._leaf(block, self._unpack("HH", block, 8)[1])

    def _unpack(self, layout: str, block: bytes, place: int) -> tuple[int, ...]:
        return struct.unpack_from(f"{self.order}{layout}", block, place)

    def _first_time(self, page: int) -> int:
        if page in self._seen or page * self.page_bytes >= len(self.data):
            raise Damaged("its pages go round in a circle, or beyond its end")
        self._seen.add(page)
        return page

    def _page(self, page: int) -> bytes:
        start = page * self.page_bytes
        (overflow,) = self._unpack("I", self.data[start : start + HEADER_BYTES], 12)
        return self._counted(self.data[start : start + (overflow + 1) * self.page_bytes])

    def _below(self, block: bytes, number: int) -> int:
        return self._unpack("IIQ", block, HEADER_BYTES + number * ELEMENT_BYTES)[2]

    def _leaf(self, block: bytes, count: int) -> Iterator[Item]:
        for number in range(count):
            place = HEADER_BYTES + number * ELEMENT_BYTES
            flags, offset, key_bytes, value_bytes = self._unpack("IIII", block, place)
            start = place + offset
            both = self._counted(block[start : start + key_bytes + value_bytes])
            if len(both) < key_bytes + value_bytes:
                raise Damaged("it is not whole")
            yield Item(both[:key_bytes], both[key_bytes:], bool(flags & BUCKET))

    def _counted(self, block: bytes) -> bytes:
        """`block`, which a sound file gives once as part of a page, once as an item of that, and
        once more as an item of the small bucket that lies in it."""
        self._read_bytes += len(block)
        if self._read_bytes > 3 * len(self.data):
            raise Damaged("its parts are larger than the file")
        return block
