"""Reads the members of a tar stream one after another: ustar, pax and GNU formats.

It does what `tarfile` does in its stream mode, in a third of the time: a stage has so many small
files that reading their headers takes longest. It is strict: a stream that ends early, has a
damaged header, or anything but zeros after its end is `Damaged`.
"""

from __future__ import annotations

import math
import os
import struct
import zlib
from collections.abc import Iterator
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

from tasks.archive.formats import Damaged
from tasks.archive.pax_headers import BLOCK, HEADER_MAX_BYTES, number, padded, records_of

HEADERS_MAX_BYTES = 512 << 20
"""Most that the names and attributes of all members may have."""

HOLES_MAX_BYTES = 64 << 30
"""Most zeros that all sparse files of a stream may have without storing them."""

FILE, HARD_LINK, LINK, CHARACTER_DEVICE, BLOCK_DEVICE, FOLDER, FIFO = "0123456"
_KINDS = {kind.encode(): kind for kind in "123456"}
_WITHOUT_DATA = frozenset(_KINDS.values())
_DEVICES = frozenset((CHARACTER_DEVICE, BLOCK_DEVICE))
_EXTENSIONS = frozenset((b"x", b"X", b"g", b"L", b"K"))
_FIELDS = struct.Struct("100s8s8s8s12s12s8sc100s6s2s32s32s8s8s155s12x")
_SIZE, _CHECKSUM, _TYPE = 4, 6, 7
_SPARSE_SIZES = frozenset((b"GNU.sparse.size", b"GNU.sparse.realsize"))
_ZEROS = bytes(1 << 20)
_DIGITS_MAX = 20
_TIME_MAX = 40
Data = bytes | memoryview
"""A piece of content; mostly a part of the stream's own piece, which is not copied."""

_Records = dict[bytes, bytes]
_Segments = list[tuple[int, int]]


class Member(NamedTuple):
    """One member. `kind` is a type flag of POSIX, FILE for whatever has content. `size` is that of
    the content, with its holes. Texts are as `os.fsdecode` gives them; `xattrs` are the `SCHILY.`
    records of pax. `data` is the content in pieces, `stored` bytes of the stream from `offset` on;
    what is not read of it is skipped."""

    name: str
    kind: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime: float
    link: str
    device: tuple[int, int]
    xattrs: tuple[tuple[str, str], ...]
    offset: int
    stored: int
    data: Iterator[Data]


def members(pieces: Iterator[bytes]) -> Iterator[Member]:
    """The members of the stream of `pieces`, which is read to its end."""
    source = _Source(pieces)
    common: _Records = {}
    while any(header := source.take(BLOCK)):
        member = _member(source, header, common)
        yield member
        for _ in member.data:
            pass
    source.check_end()


class _Source:
    """The stream, of which parts are taken in order."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._piece = b""
        self._view = memoryview(b"")
        self._at = 0
        self._before = 0
        self._headers_left = HEADERS_MAX_BYTES
        self._holes_left = HOLES_MAX_BYTES

    @property
    def offset(self) -> int:
        return self._before + self._at

    def take(self, size: int) -> bytes:
        start, end = self._at, self._at + size
        if end <= len(self._piece):
            self._at = end
            return self._piece[start:end]
        return b"".join(self.chunks(size))

    def chunks(self, size: int) -> Iterator[Data]:
        """The next `size` bytes, in pieces."""
        while size:
            if self._at == len(self._piece):
                self._before += self._at
                self._piece, self._at = next(filter(None, self._pieces), b""), 0
                self._view = memoryview(self._piece)
                if not self._piece:
                    raise Damaged("it ends too early")
            chunk = self._view[self._at : self._at + size]
            self._at += len(chunk)
            size -= len(chunk)
            yield chunk

    def extension(self, size: int) -> bytes:
        """The content of an extension header."""
        self._headers_left -= size
        if size > HEADER_MAX_BYTES or self._headers_left < 0:
            raise Damaged(f"it has a header of {size:,} bytes, or too many")
        return self.take(padded(size))[:size]

    def file(self, size: int) -> Iterator[Data]:
        """The content of a file; a small one is mostly in one piece."""
        at = self._at
        if size and (end := at + padded(size)) <= len(self._piece):
            self._at = end
            return iter((self._view[at : at + size],))
        return self._file(size)

    def _file(self, size: int) -> Iterator[Data]:
        yield from self.chunks(size)
        self.skip(padded(size) - size)

    def skip(self, size: int) -> None:
        for _ in self.chunks(size):
            pass

    def zeros(self, size: int) -> Iterator[Data]:
        self._holes_left -= size
        if self._holes_left < 0:
            raise Damaged("it has sparse files that are too large")
        while size:
            yield _ZEROS[:size]
            size -= min(size, len(_ZEROS))

    def check_end(self) -> None:
        rest = chain((self._piece[self._at :],), self._pieces)
        if any(piece.strip(b"\0") for piece in rest):
            raise Damaged("it is damaged, or something else follows its end")


def _member(source: _Source, header: bytes, common: _Records) -> Member:
    """The member of `header`, which may be an extension header of it. `common` has the records
    that count for all members from here on."""
    own: _Records = {}
    pairs: list[tuple[bytes, bytes]] = []
    while (fields := _fields(header))[_TYPE] in _EXTENSIONS:
        content = source.extension(number(fields[_SIZE]))
        match fields[_TYPE]:
            case b"x" | b"X":
                pairs = records_of(content)
                own.update(pairs)
            case b"g":
                common.update(records_of(content))
            case b"L":
                own[b"path"] = content.partition(b"\0")[0]
            case b"K":
                own[b"linkpath"] = content.partition(b"\0")[0]
        header = source.take(BLOCK)
    return _described(source, header, fields, common | own if common else own, pairs)


def _fields(header: bytes) -> tuple[bytes, ...]:
    """The fields of a header block. Its checksum is the sum of its bytes, with spaces for the field
    itself. Adler-32 has the sum in its lower half, modulo 65521, and takes no time."""
    fields = _FIELDS.unpack(header)
    if zlib.adler32(header, 0) & 0xFFFF != _sum_of_all(fields[_CHECKSUM]):
        _check_signed(header, fields[_CHECKSUM])
    return fields


@lru_cache(maxsize=4096)
def _sum_of_all(checksum: bytes) -> int:
    """What all bytes of a header with this checksum add up to, modulo 65521."""
    return (_checksum(checksum) - len(checksum) * 0x20 + sum(checksum)) % 65521


def _checksum(field: bytes) -> int:
    return number(field.partition(b"\0")[0])


def _check_signed(header: bytes, checksum: bytes) -> None:
    """`Damaged` if its checksum is not even what old programs made, which took bytes for signed
    numbers."""
    blank = header[:148] + b" " * 8 + header[156:]
    if _checksum(checksum) != sum(struct.unpack(f"{len(blank)}b", blank)):
        raise Damaged("it has a damaged header")


def _described(
    source: _Source,
    header: bytes,
    fields: tuple[bytes, ...],
    records: _Records,
    pairs: list[tuple[bytes, bytes]],
) -> Member:
    kind = _KINDS.get(fields[_TYPE], FILE)
    if kind == FILE and fields[_TYPE] == b"\0" and _name(fields).endswith(b"/"):
        kind = FOLDER  # as programs wrote it before there was a flag for folders
    stored = 0 if kind in _WITHOUT_DATA else _value(records, b"size", fields[_SIZE])
    offset, size = source.offset, stored
    if fields[_TYPE] == b"S" or (kind == FILE and not _SPARSE_SIZES.isdisjoint(records)):
        size, data = _sparse(source, header, stored, records, pairs)
        offset = source.offset
    else:
        data = source.file(stored)
    name = records.get(b"GNU.sparse.name") or records.get(b"path") or _name(fields)
    link = records.get(b"linkpath") or fields[8].partition(b"\0")[0]
    return Member(
        name.decode("utf-8", "surrogateescape"),
        kind,
        _octal(fields[1]),
        _value(records, b"uid", fields[2]),
        _value(records, b"gid", fields[3]),
        size,
        _mtime(records, fields[5]),
        link.decode("utf-8", "surrogateescape"),
        (number(fields[13]), number(fields[14])) if kind in _DEVICES else (0, 0),
        _xattrs(records),
        offset,
        stored,
        data,
    )


def _name(fields: tuple[bytes, ...]) -> bytes:
    name = fields[0].partition(b"\0")[0]
    prefix = fields[15].partition(b"\0")[0] if fields[9] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


_octal = lru_cache(maxsize=1024)(number)
"""`number` for fields that have few values, such as modes and owners."""


def _value(records: _Records, key: bytes, field: bytes) -> int:
    """A number from the pax records, else from the field of the header."""
    if (value := records.get(key)) is None:
        return _octal(field)
    if not value.isdigit() or len(value) > _DIGITS_MAX:
        raise Damaged("it has a damaged pax header")
    return int(value)


def _mtime(records: _Records, field: bytes) -> float:
    if (value := records.get(b"mtime")) is None:
        before_1970 = field[:1] == b"\xff"
        return float(int.from_bytes(field, "big", signed=True) if before_1970 else number(field))
    try:
        found = float(value[:_TIME_MAX])
    except ValueError:
        raise Damaged("it has a damaged pax header") from None
    if not math.isfinite(found):
        raise Damaged("it has a damaged pax header")
    return found


def _xattrs(records: _Records) -> tuple[tuple[str, str], ...]:
    found = [key for key in records if key.startswith(b"SCHILY.")]
    return tuple((os.fsdecode(key), os.fsdecode(records[key])) for key in sorted(found))


# --- Sparse files: GNU tar's manual, "Storing Sparse Files" ---------------------------------------


def _sparse(
    source: _Source,
    header: bytes,
    stored: int,
    records: _Records,
    pairs: list[tuple[bytes, bytes]],
) -> tuple[int, Iterator[Data]]:
    """The size and content of a sparse file, with its holes."""
    if header[156:157] == b"S":
        segments, real = _old_map(source, header)
        return real, _with_holes(source, segments, real, stored)
    real = _value(records, b"GNU.sparse.realsize", b"\0")
    if records.get(b"GNU.sparse.major") == b"1":
        return real, _mapped_in_data(source, real, stored)
    real = _value(records, b"GNU.sparse.size", b"\0")
    if b"GNU.sparse.map" in records:
        numbers = records[b"GNU.sparse.map"].split(b",")
    else:
        numbers = [value for key, value in pairs if key in _SEGMENT]
    return real, _with_holes(source, _segments(numbers), real, stored)


_SEGMENT = frozenset((b"GNU.sparse.offset", b"GNU.sparse.numbytes"))


def _segments(numbers: list[bytes]) -> _Segments:
    if any(not each.isdigit() or len(each) > _DIGITS_MAX for each in numbers) or len(numbers) % 2:
        raise Damaged("it has a damaged sparse file")
    found = [int(each) for each in numbers]
    return list(zip(found[::2], found[1::2], strict=True))


def _old_map(source: _Source, header: bytes) -> tuple[_Segments, int]:
    """The map in a header of GNU's own format: four segments, and 21 in each block after it."""
    fields = [header[at : at + 12] for at in range(386, 482, 12)]
    more, real = header[482], number(header[483:495])
    while more:
        block = source.extension(BLOCK)
        fields += [block[at : at + 12] for at in range(0, 504, 12)]
        more = block[504]
    used = [field for field in fields if field.strip(b"\0")]
    if len(used) % 2:
        raise Damaged("it has a damaged sparse file")
    found = [number(field) for field in used]
    return list(zip(found[::2], found[1::2], strict=True)), real


def _mapped_in_data(source: _Source, real: int, stored: int) -> Iterator[Data]:
    """Format 1.0: the content begins with the map, decimal numbers in lines, the first of which is
    how many segments there are."""
    block, wanted, used = b"", 1, 0
    lines: list[bytes] = []
    while len(lines) < wanted:
        if used + BLOCK > stored:
            raise Damaged("it has a damaged sparse file")
        block += source.extension(BLOCK)
        used += BLOCK
        *more, block = block.split(b"\n")
        lines += more
        if lines and wanted == 1:
            ((wanted, _),) = _segments([lines[0], b"0"])
            wanted = 1 + 2 * wanted
    yield from _with_holes(source, _segments(lines[1:wanted]), real, stored - used)


def _with_holes(source: _Source, segments: _Segments, real: int, stored: int) -> Iterator[Data]:
    at, left = 0, stored
    for offset, size in segments:
        if offset < at or offset + size > real or size > left:
            raise Damaged("it has a damaged sparse file")
        yield from source.zeros(offset - at)
        yield from source.chunks(size)
        at, left = offset + size, left - size
    yield from source.zeros(real - at)
    source.skip(padded(stored) - stored + left)
