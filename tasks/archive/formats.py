"""Formats of tarballs, recognised by extension and by the first bytes."""

from __future__ import annotations

from enum import StrEnum

from tasks.errors import BadInput, StagefarmError


class Compression(StrEnum):
    NONE = "tar"
    ZSTD = "zstd"
    XZ = "xz"
    GZIP = "gzip"
    BZIP2 = "bzip2"


class Damaged(StagefarmError):
    """`Damaged(message, hint="")`: the input is not a complete tarball. The caller adds the name of
    the file, so the message begins with "it"."""


_ENDINGS = {
    ".tar": Compression.NONE,
    ".zst": Compression.ZSTD,
    ".tzst": Compression.ZSTD,
    ".xz": Compression.XZ,
    ".txz": Compression.XZ,
    ".gz": Compression.GZIP,
    ".tgz": Compression.GZIP,
    ".bz2": Compression.BZIP2,
    ".tbz2": Compression.BZIP2,
}


_MAGIC = (
    (b"\x28\xb5\x2f\xfd", Compression.ZSTD),
    (b"\xfd7zXZ\x00", Compression.XZ),
    (b"\x1f\x8b", Compression.GZIP),
    (b"BZh", Compression.BZIP2),
)


HEAD_BYTES = 512
"""How much of a file `by_content` needs."""


def by_name(name: str) -> Compression:
    """The compression for the extension of `name`; `BadInput` for an unknown extension."""
    for ending, compression in _ENDINGS.items():
        if name.endswith(ending):
            return compression
    raise BadInput(
        f"{name}: unknown extension for a tarball",
        f"use one of {', '.join(e for e in _ENDINGS if not e.startswith('.t') or e == '.tar')}",
    )


def by_content(head: bytes) -> Compression | None:
    """The format of a file that begins with `head`; None if it is not a tarball."""
    for magic, compression in _MAGIC:
        if head.startswith(magic):
            return compression
    if len(head) >= 4 and 0x50 <= head[0] <= 0x5F and head[1:4] == b"\x2a\x4d\x18":
        return Compression.ZSTD  # a skippable frame, at the start of pzstd and seekable files
    return Compression.NONE if _is_tar_header(head) else None


def _is_tar_header(block: bytes) -> bool:
    """True for a header block with a valid checksum (POSIX ustar: the sum of all bytes, with the
    checksum field as spaces), and for the zeros of an empty archive."""
    if len(block) < HEAD_BYTES:
        return False
    if not any(block[:HEAD_BYTES]):
        return True
    try:
        said = int(block[148:156].strip(b" \0") or b"0", 8)
    except ValueError:
        return False
    return said == sum(block[:148]) + 8 * 0x20 + sum(block[156:HEAD_BYTES])
