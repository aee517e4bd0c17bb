"""Edits the headers of a tar stream on the fly: names, link targets, owners.

Unchanged entries pass byte for byte. A changed entry gets a pax header before it (POSIX.1-2017,
pax, "pax Extended Header") with the new values, which all current readers prefer to the old
fields; so header fields that are unknown here are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tasks.archive.formats import Damaged

BLOCK = 512
HEADER_MAX_BYTES = 16 << 20
LENGTH_MAX_DIGITS = 12
_WITHOUT_DATA = b"123456"
_SPARSE_NAME = b"GNU.sparse.name"


@dataclass(frozen=True, slots=True)
class Member:
    """The editable part of an entry. `link` is set for hard (`is_hard`) and symbolic links."""

    name: bytes
    link: bytes
    uid: int
    gid: int
    is_hard: bool


Edit = Callable[[Member], Member | None]
"""Returns the new entry; None leaves it out."""


def edited(pieces: Iterator[bytes], edit: Edit) -> Iterator[bytes]:
    """The stream of `pieces` with every entry changed by `edit`."""
    source = _Source(pieces)
    while header := source.header():
        entry = _Entry(source, header)
        wanted = edit(entry.member)
        if wanted is None:
            for _ in source.data(entry.size):
                pass
            continue
        yield from entry.blocks if wanted == entry.member else entry.changed(wanted)
        yield from source.data(entry.size)
    yield from source.rest()


class _Source:
    """The stream, read in blocks."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._piece = b""
        self._at = 0

    def take(self, size: int) -> bytes:
        return b"".join(self.data(size))

    def data(self, size: int) -> Iterator[bytes]:
        """The next `size` bytes and the padding of their last block, in pieces."""
        left = padded(size)
        while left:
            if self._at == len(self._piece) and not self._next():
                raise Damaged("it ends too early")
            part = self._piece[self._at : self._at + left]
            self._at += len(part)
            left -= len(part)
            yield part

    def _next(self) -> bool:
        self._piece, self._at = next(filter(None, self._pieces), b""), 0
        return bool(self._piece)

    def header(self) -> bytes:
        """The next header block; empty at the end, whose blocks are returned by `rest`."""
        block = self.take(BLOCK)
        if any(block):
            return block
        self._piece, self._at = block + self._piece[self._at :], 0
        return b""

    def rest(self) -> Iterator[bytes]:
        yield self._piece[self._at :]
        yield from self._pieces


class _Entry:
    """One entry: its header, and the extension headers before it."""

    def __init__(self, source: _Source, header: bytes) -> None:
        self.blocks: list[bytes] = []
        self._records: list[tuple[bytes, bytes]] = []
        self._kept: list[bytes] = []
        long: dict[bytes, bytes] = {}
        while (kind := header[156:157]) in b"xgLKX":
            content = _content(source, header)
            self.blocks += [header, content]
            if kind in b"xX":
                self._records = records_of(content[: number(header[124:136])])
            elif kind in b"LK":
                long[kind] = content.partition(b"\0")[0]
            else:
                self._kept += [header, content]
            header = source.take(BLOCK)
        self.blocks.append(header)
        self._header, self._kind = header, kind
        self._sparse = _sparse_blocks(source, header)
        self.blocks += self._sparse
        self._find(long)

    def _find(self, long: dict[bytes, bytes]) -> None:
        records = dict(self._records)
        header = self._header
        size = _field(records, b"size", header[124:136])
        self.size = 0 if self._kind in _WITHOUT_DATA else size
        self.member = Member(
            name=records.get(_SPARSE_NAME)
            or records.get(b"path")
            or long.get(b"L")
            or _name(header),
            link=records.get(b"linkpath") or long.get(b"K") or header[157:257].partition(b"\0")[0],
            uid=_field(records, b"uid", header[108:116]),
            gid=_field(records, b"gid", header[116:124]),
            is_hard=self._kind == b"1",
        )

    def changed(self, wanted: Member) -> list[bytes]:
        """The blocks of the entry as `wanted`, with one pax header for all of its records."""
        path = _SPARSE_NAME if _SPARSE_NAME in dict(self._records) else b"path"
        new = {path: wanted.name, b"uid": b"%d" % wanted.uid, b"gid": b"%d" % wanted.gid}
        if wanted.link:
            new[b"linkpath"] = wanted.link
        kept = [(key, value) for key, value in self._records if key not in new]
        content = _format([*kept, *new.items()])
        header = bytearray(self._header)
        header[0:100] = wanted.name[:100].ljust(100, b"\0")
        header[157:257] = wanted.link[:100].ljust(100, b"\0")
        header[257:265] = b"ustar\x0000"
        header[345:500] = header[345:500] if self._sparse else bytes(155)
        blocks = [_extended(len(content)), content.ljust(padded(len(content)), b"\0")]
        return [*self._kept, *blocks, _sealed(header), *self._sparse]


def _content(source: _Source, header: bytes) -> bytes:
    size = number(header[124:136])
    if size > HEADER_MAX_BYTES:
        raise Damaged(f"it has a header of {size:,} bytes")
    return source.take(padded(size))


def _sparse_blocks(source: _Source, header: bytes) -> list[bytes]:
    """The extension blocks of an old GNU sparse header: each has a flag for another one."""
    blocks: list[bytes] = []
    more = header[156:157] == b"S" and header[482]
    while more:
        blocks.append(source.take(BLOCK))
        more = blocks[-1][504]
    return blocks


def padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _field(records: dict[bytes, bytes], key: bytes, field: bytes) -> int:
    """A number from the pax header, else from the field of the old one."""
    if key not in records:
        return number(field)
    if not records[key].isdigit():
        raise Damaged("it has a damaged pax header")
    return int(records[key])


def number(field: bytes) -> int:
    """A number in octal, or (GNU) in base 256 if the first bit is set."""
    if field[:1] > b"\x7f":
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    digits = field.strip(b" \0") or b"0"
    try:
        if digits.isdigit():
            return int(digits, 8)
    except ValueError:
        pass
    raise Damaged("it has a damaged header")


def _name(header: bytes) -> bytes:
    name = header[:100].partition(b"\0")[0]
    prefix = header[345:500].partition(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def records_of(content: bytes) -> list[tuple[bytes, bytes]]:
    """The records `LENGTH KEY=VALUE\\n` of a pax header."""
    records = []
    at = 0
    try:
        while at < len(content):
            space = content.index(b" ", at, at + LENGTH_MAX_DIGITS)
            end = at + int(content[at:space])
            key, _, value = content[space + 1 : end].partition(b"=")
            if not space < end <= len(content) or not value.endswith(b"\n"):
                raise ValueError
            records.append((key, value[:-1]))
            at = end
    except ValueError:
        raise Damaged("it has a damaged pax header") from None
    return records


def _format(records: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join(_record(key, value) for key, value in records)


def _record(key: bytes, value: bytes) -> bytes:
    """One record; its length counts its own digits."""
    body = b" " + key + b"=" + value + b"\n"
    length = len(body) + len(str(len(body)))
    length = len(body) + len(str(length))
    return b"%d" % length + body


def _extended(size: int) -> bytes:
    """The header block of a pax header of `size` bytes."""
    header = bytearray(BLOCK)
    header[0:19] = b"PaxHeaders/stagefarm"[:19]
    header[100:108] = header[108:116] = header[116:124] = b"0000000\0"
    header[124:136] = b"%011o\0" % size
    header[136:148] = b"00000000000\0"
    header[156:157] = b"x"
    header[257:265] = b"ustar\x0000"
    return _sealed(header)


def _sealed(header: bytearray) -> bytes:
    """`header` with its checksum: the sum of its bytes, with the checksum field as spaces."""
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)
