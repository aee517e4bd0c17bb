"""Decompresses the streams of tarballs.

Reading is strict: a stream that ends early, is damaged, or has anything but zeros after its end is
refused. `xz` is used if it is installed, because it uses all cores, and Python's modules otherwise.
"""

from __future__ import annotations

import bz2
import lzma
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty, Queue
from shutil import which
from typing import Protocol

from tasks.archive.formats import Compression, Damaged
from tasks.host.pipes import drained, feeding, killed_on_error
from tasks.host.process import piped

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PIECE_BYTES = 4 << 20
"""Most that is given to a decompressor, or taken from it, at once. With smaller pieces, two threads
wait for each other more often, which takes longer than to fill the memory of large ones."""

Read = Callable[[int], bytes]
"""Returns up to so many bytes, and none at the end, like the `read` of a file."""


def decompress(read: Read, compression: Compression) -> Iterator[bytes]:
    """The decompressed bytes of a stream, in non-empty pieces; `Damaged` if it is not complete."""
    if compression is Compression.NONE:
        return pieces_of(read)
    if compression is Compression.XZ and which("xz"):
        return _through(["xz", "-dc", "--threads=0"], read)
    return _streams(read, _READERS[compression])


def pieces_of(read: Read) -> Iterator[bytes]:
    return iter(lambda: read(PIECE_BYTES), b"")


@contextmanager
def ahead(pieces: Iterator[bytes]) -> Iterator[Iterator[bytes]]:
    """`pieces`, joined to larger ones and read ahead in a thread, so that the producer and the
    consumer run in parallel."""
    made: Queue[bytes | BaseException] = Queue(maxsize=_AHEAD)
    stopped = threading.Event()

    def make() -> None:
        try:
            for piece in joined(pieces):
                made.put(piece)
                if stopped.is_set():
                    return
            made.put(b"")
        except BaseException as error:
            made.put(error)

    thread = threading.Thread(target=make, daemon=True)
    thread.start()
    try:
        yield iter(lambda: _piece_of(made.get()), b"")
    finally:
        stopped.set()
        while thread.is_alive():
            with suppress(Empty):
                made.get(timeout=_LOOK_S)
        thread.join()


_AHEAD = 4
JOINED_BYTES = 1 << 20
_LOOK_S = 0.05


def _piece_of(made: bytes | BaseException) -> bytes:
    if isinstance(made, BaseException):
        raise made
    return made


def joined(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of at least JOINED_BYTES, but for the last."""
    parts: list[bytes] = []
    size = 0
    for piece in pieces:
        parts.append(piece)
        size += len(piece)
        if size >= JOINED_BYTES:
            yield b"".join(parts)
            parts, size = [], 0
    if size:
        yield b"".join(parts)


class _Stream(Protocol):
    """One compressed stream (a file can have several): `feed` yields the pieces of its data."""

    def feed(self, data: bytes) -> Iterator[bytes]: ...

    @property
    def ended(self) -> bool: ...

    @property
    def rest(self) -> bytes: ...


class _Gzip:
    def __init__(self) -> None:
        self._object = zlib.decompressobj(wbits=31)

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data:
            yield self._object.decompress(data, PIECE_BYTES)
            data = self._object.unconsumed_tail

    @property
    def ended(self) -> bool:
        return self._object.eof

    @property
    def rest(self) -> bytes:
        return self._object.unused_data


class _Block:
    """The interface that `lzma`, `bz2` and `zstd` share."""

    _object: lzma.LZMADecompressor | bz2.BZ2Decompressor | zstd.ZstdDecompressor

    def feed(self, data: bytes) -> Iterator[bytes]:
        yield self._object.decompress(data, PIECE_BYTES)
        while not self._object.eof and not self._object.needs_input:
            yield self._object.decompress(b"", PIECE_BYTES)

    @property
    def ended(self) -> bool:
        return self._object.eof

    @property
    def rest(self) -> bytes:
        return self._object.unused_data


class _Xz(_Block):
    def __init__(self) -> None:
        self._object = lzma.LZMADecompressor(format=lzma.FORMAT_XZ)


class _Bzip2(_Block):
    def __init__(self) -> None:
        self._object = bz2.BZ2Decompressor()


class _Zstd(_Block):
    def __init__(self) -> None:
        largest = zstd.DecompressionParameter.window_log_max.bounds()[1]
        self._object = zstd.ZstdDecompressor(
            options={zstd.DecompressionParameter.window_log_max: largest}
        )


_READERS: dict[Compression, Callable[[], _Stream]] = {
    Compression.ZSTD: _Zstd,
    Compression.XZ: _Xz,
    Compression.GZIP: _Gzip,
    Compression.BZIP2: _Bzip2,
}


def _streams(read: Read, new: Callable[[], _Stream]) -> Iterator[bytes]:
    """All streams up to the end, or to the zeros that pad it; each must be complete."""
    stream, begun, count = new(), False, 0
    while data := read(PIECE_BYTES):
        while data := data if begun or not count else data.lstrip(b"\0"):
            begun = True
            try:
                yield from filter(None, stream.feed(data))
            except (zstd.ZstdError, zlib.error, lzma.LZMAError, OSError) as error:
                raise Damaged(f"it is damaged: {error}" if not count else _GARBAGE) from error
            data = b""
            if stream.ended:
                data, stream, begun, count = stream.rest, new(), False, count + 1
    if begun or not count:
        raise Damaged(_SHORT if not count else _GARBAGE)


_SHORT = "it ends too early"
_GARBAGE = "something else follows its end"


def _through(argv: list[str], read: Read) -> Iterator[bytes]:
    """The output of the program for the stream; `Damaged` with its error message."""
    pipe = subprocess.PIPE
    with piped(argv, stdin=pipe, stdout=pipe, stderr=pipe) as program:
        yield from _fed(program, read)


def _fed(program: subprocess.Popen[bytes], read: Read) -> Iterator[bytes]:
    with feeding(program.stdin, pieces_of(read)), killed_on_error(program):
        yield from drained(program.stdout)
        complaint = b"".join(drained(program.stderr)).decode(errors="replace").strip()
    if program.wait() or complaint:
        raise Damaged(_explain(complaint))


def _explain(complaint: str) -> str:
    """The message for one of the three possible errors, from that of the program."""
    lower = complaint.lower()
    if "garbage" in lower or "format not recognized" in lower:
        return _GARBAGE
    if "unexpected end" in lower or "premature" in lower or "eof" in lower:
        return _SHORT
    return f"it is damaged: {complaint}" if complaint else "it is damaged"
