"""Compresses reproducibly, on all cores."""

from __future__ import annotations

import bz2
import lzma
import os
import subprocess
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from shutil import which
from typing import Protocol

import zstandard

from tasks.archive.formats import Compression
from tasks.errors import PackFailed
from tasks.host.pipes import drained, feeding, killed_on_error
from tasks.host.process import piped
from tasks.settings import DEFAULTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """Compression levels; `zstd_long` is a window as a power of two, 0 for that of the level."""

    zstd: int = DEFAULTS.zstd_level
    zstd_long: int = DEFAULTS.zstd_long
    xz: int = DEFAULTS.xz_level
    gzip: int = DEFAULTS.gzip_level
    bzip2: int = DEFAULTS.bzip2_level


def compressed(
    pieces: Iterator[bytes], compression: Compression, levels: Levels
) -> Iterator[bytes]:
    """`pieces`, compressed; the same pieces become the same bytes for any number of cores (except
    that `pigz` and `lbzip2` differ from Python's modules)."""
    if compression is Compression.NONE:
        return pieces
    if argv := _compressor(compression, levels):
        return _piped(argv, pieces)
    return _encoded(pieces, _encoder(compression, levels))


def _compressor(compression: Compression, levels: Levels) -> list[str]:
    """The program that uses all cores, if it is installed. One thread writes other bytes than
    several, so there are always at least two."""
    cores = max(2, os.cpu_count() or 2)
    argv = {
        Compression.XZ: ["xz", "-c", f"-{levels.xz}", f"--threads={0 if cores > 2 else cores}"],
        Compression.GZIP: ["pigz", "-cn", f"-{levels.gzip}", f"-p{cores}"],
        Compression.BZIP2: ["lbzip2", "-c", f"-{levels.bzip2}", f"-n{cores}"],
    }.get(compression, [])
    return argv if argv and which(argv[0]) else []


def _piped(argv: list[str], pieces: Iterator[bytes]) -> Iterator[bytes]:
    with (
        piped(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=None) as program,
        feeding(program.stdin, pieces),
        killed_on_error(program),
    ):
        yield from drained(program.stdout)
    if program.returncode:
        raise PackFailed(f"{argv[0]} failed with exit code {program.returncode}")


def _encoded(pieces: Iterator[bytes], encoder: _Encoder) -> Iterator[bytes]:
    for piece in pieces:
        if data := encoder.compress(piece):
            yield data
    yield encoder.flush()


class _Encoder(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


def _encoder(compression: Compression, levels: Levels) -> _Encoder:
    match compression:
        case Compression.XZ:
            return lzma.LZMACompressor(preset=levels.xz)
        case Compression.GZIP:
            return zlib.compressobj(levels.gzip, wbits=31)
        case Compression.BZIP2:
            return bz2.BZ2Compressor(levels.bzip2)
        case _:
            return _zstd(levels)


def _zstd(levels: Levels) -> _Encoder:
    """With worker threads even on one core: without them it writes other bytes."""
    parameters = zstandard.ZstdCompressionParameters.from_level(
        levels.zstd,
        threads=os.cpu_count() or 1,
        write_checksum=True,
        **({"enable_ldm": True, "window_log": levels.zstd_long} if levels.zstd_long else {}),
    )
    return zstandard.ZstdCompressor(compression_params=parameters).compressobj()
