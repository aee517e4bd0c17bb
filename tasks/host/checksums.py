"""Checksums and size of a file, computed while it is written."""

from __future__ import annotations

import hashlib
from typing import BinaryIO

from tasks.host.files import write_all

ALGORITHMS = ("sha256", "sha512", "blake2b")


class Sums:
    """Writes to a file, if there is one, and computes size and checksums of what was written."""

    def __init__(self, file: BinaryIO | None = None) -> None:
        self._file = file
        self._hashes = {name: hashlib.new(name) for name in ALGORITHMS}
        self.size_bytes = 0

    def write(self, data: bytes) -> None:
        self.size_bytes += len(data)
        for value in self._hashes.values():
            value.update(data)
        if self._file:
            write_all(self._file.fileno(), data)

    def hex(self, algorithm: str) -> str:
        return self._hashes[algorithm].hexdigest()
