"""Writing BoltDB files as anise leaves them: a bucket `DefaultPackage` of JSON records, and one of
finalizers in another."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tasks.artifacts.boltdb import BRANCH, BUCKET, LEAF, MAGIC, VERSION, fnv

PAGE_BYTES = 4096
META, FREELIST = 0x04, 0x10
Item = tuple[bytes, bytes, bool]


def write(
    file: Path, packages: Iterable[dict[str, Any]], finalizers: Iterable[dict[str, Any]] = ()
) -> None:
    """A database of `packages`: each a mapping of name, version, category, repository."""
    file.parent.mkdir(parents=True, exist_ok=True)
    records, others = (
        [json.dumps(record).encode() for record in each] for each in (packages, finalizers)
    )
    file.write_bytes(database(records, others))


def database(records: Sequence[bytes], finalizers: Sequence[bytes] = ()) -> bytes:
    """A whole file: two states, the list of free pages, a bucket of as many pages as it takes,
    with a sub-bucket in it, as an index is, and one with a bucket of `finalizers`."""
    items = _numbered(records)
    leaves: list[list[Item]] = [[]]
    for item in items:
        if len(page(0, LEAF, [*leaves[-1], item])) > PAGE_BYTES and leaves[-1]:
            leaves.append([])
        leaves[-1].append(item)
    pages, first = [], 4
    places = []
    for leaf in leaves:
        made = padded(page(first, LEAF, leaf))
        places.append((leaf[0][0], first))
        pages.append(made)
        first += len(made) // PAGE_BYTES
    pages.append(padded(branch(first, places)))
    inner = (b"PackageFinalizer", bucket(0) + page(0, LEAF, _numbered(finalizers)), True)
    outer = (b"finalizers", bucket(0) + page(0, LEAF, [inner]), True)
    top = [(b"DefaultPackage", bucket(first), True), outer, (b"other", b"value", False)]
    fixed = [
        meta(0, number=7, root=1),  # the older state, whose root is none
        meta(1, number=8, root=3),
        padded(page(2, FREELIST, [])),
        padded(page(3, LEAF, top)),
    ]
    return b"".join([*fixed, *pages])


def _numbered(records: Sequence[bytes]) -> list[Item]:
    items = [(number.to_bytes(8, "big"), record, False) for number, record in enumerate(records, 1)]
    return [
        *items,
        (b"__storm_index_ID", bucket(0) + page(0, LEAF, [(b"k", b"v", False)]), True),
    ]


def meta(number_of_page: int, *, number: int, root: int, order: str = "<") -> bytes:
    head = struct.pack(f"{order}QHHI", number_of_page, META, 0, 0)
    block = struct.pack(f"{order}IIIIQQQQQ", MAGIC, VERSION, PAGE_BYTES, 0, root, 0, 2, 99, number)
    return padded(head + block + struct.pack(f"{order}Q", fnv(block)))


def bucket(root: int) -> bytes:
    return struct.pack("<QQ", root, 0)


def page(number: int, flags: int, items: Sequence[Item]) -> bytes:
    elements, data = b"", b""
    for place, (key, value, is_bucket) in enumerate(items):
        offset = 16 * (len(items) - place) + len(data)
        elements += struct.pack("<IIII", BUCKET * is_bucket, offset, len(key), len(value))
        data += key + value
    length = 16 + len(elements) + len(data)
    return header(number, flags, len(items), length) + elements + data


def branch(number: int, places: Sequence[tuple[bytes, int]]) -> bytes:
    elements, data = b"", b""
    for place, (key, child) in enumerate(places):
        offset = 16 * (len(places) - place) + len(data)
        elements += struct.pack("<IIQ", offset, len(key), child)
        data += key
    length = 16 + len(elements) + len(data)
    return header(number, BRANCH, len(places), length) + elements + data


def header(number: int, flags: int, count: int, length: int) -> bytes:
    return struct.pack("<QHHI", number, flags, count, max(0, (length - 1) // PAGE_BYTES))


def padded(block: bytes) -> bytes:
    return block + bytes(-len(block) % PAGE_BYTES)
