"""Digests of large files, computed in a thread beside the one that reads them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import BoundedSemaphore

LARGE_BYTES = 64 << 10
"""For a smaller file, to hand it over takes longer than to hash it."""

_WAITING_MAX = 64
"""Pieces that wait at most, each of at most 1 MiB."""


class Digests:
    """Hashes pieces in the order in which they are given."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self._room = BoundedSemaphore(_WAITING_MAX)

    def sha256(self, pieces: Iterator[bytes]) -> Future[str]:
        """The digest of all `pieces`, which are read before this returns."""
        digest = hashlib.sha256()

        def add(piece: bytes) -> None:
            digest.update(piece)
            self._room.release()

        for piece in pieces:
            self._room.acquire()
            self._pool.submit(add, piece)
        return self._pool.submit(digest.hexdigest)


@contextmanager
def hashing() -> Iterator[Digests]:
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="digests") as pool:
        try:
            yield Digests(pool)
        finally:
            pool.shutdown(cancel_futures=True)
