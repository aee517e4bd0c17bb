"""A mirror in a bucket of S3.

Two publishers are kept apart by a lock object and by conditional writes, where the endpoint keeps
its promises: that is tried first. Where it does not, by a lock in the farm's Redis; without one,
only publishers of this machine are.
"""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from orchestrator.release.targets.ledger_lock import renewed
from orchestrator.release.targets.target import (
    PRIVATE,
    Item,
    OnBytes,
    not_what_was_built,
    require_inside,
)
from tasks.errors import FarmUnreachable, HostUnfit, Stale
from tasks.host.files import make_folder
from tasks.host.locks import try_lock
from tasks.ledger.connection import Connection
from tasks.ledger.locks import PublishingLock
from tasks.store.objects import Objects

SMALL_BYTES = 1 << 20
THREADS = 8
LEASE_S = 300.0
"""A lock that was not renewed for so long was left by a publisher that was killed."""

LOCK = f"{PRIVATE}/lock"
FRESH = "no-cache"
"""Of what changes: caches ask whether it has."""


@dataclass(frozen=True)
class S3Target:
    """`locks` is a folder of this machine; `say` is told where the endpoint cannot lock, and which
    lock is used there: one in the ledger of `ledger`, if that is given and can be reached."""

    objects: Objects
    url: str
    locks: Path
    say: Callable[[str], object] = field(default=lambda _: None, compare=False)
    lease_s: float = LEASE_S
    ledger: Connection | None = field(default=None, compare=False)
    _held: list[PublishingLock] = field(default_factory=list, init=False, compare=False)

    @property
    def label(self) -> str:
        return self.objects.url

    @cached_property
    def _can_lock(self) -> bool:
        held = self.objects.probe()
        return held.absent and held.match

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        name = hashlib.sha256(self.label.encode()).hexdigest()[:32]
        with try_lock(make_folder(self.locks) / f"{name}.lock") as held:
            if not held:
                raise self._busy()
            if self._can_lock:
                with _Lock(self.objects, self._taken(), self.lease_s / 3):
                    yield
            elif lock := self._taken_in_ledger():
                self._held.append(lock)
                try:
                    with renewed(lock):
                        yield
                finally:
                    self._held.clear()
            else:
                yield

    def _taken_in_ledger(self) -> PublishingLock | None:
        """The ledger's lock; None where no ledger can be reached; `Stale` if another holds it."""
        server = f"{self.label}: this server accepts conditional writes and overwrites all the same"
        here = "publish to it from one machine only"
        if not self.ledger:
            self.say(f"{server}, so {here}")
            return None
        lock = PublishingLock(self.ledger, self.label, self.lease_s)
        try:
            is_held = lock.hold()
        except FarmUnreachable as error:
            self.say(f"{server}, and the ledger cannot lock it, so {here}: {error}")
            return None
        if not is_held:
            raise self._busy()
        self.say(f"{server}, so it is locked in the farm's Redis at {self.ledger.address}")
        return lock

    def _taken(self) -> str:
        """The ETag of our lock object; `Stale` if another publisher renews its own."""
        mine = uuid.uuid4().hex.encode()
        if etag := self.objects.put_if_absent(LOCK, mine):
            return etag
        found = self.objects.head(LOCK)
        now = self._clock()
        is_left = found and now - found.modified > self.lease_s
        etag = self.objects.put_if_match(LOCK, mine, found.etag) if found and is_left else None
        if not etag:
            raise self._busy()
        return etag

    def _clock(self) -> float:
        """The server's time: that of an object that was written just now."""
        path = f"{PRIVATE}/clock-{uuid.uuid4().hex}"
        self.objects.put(path, b"")
        try:
            found = self.objects.head(path)
        finally:
            self.objects.delete([path])
        return found.modified if found else 0.0

    def _busy(self) -> Stale:
        return Stale(
            f"another publisher is at work on {self.label}",
            f"publish again once it has ended; if it was killed, after {self.lease_s:.0f} s",
        )

    def read(self, path: str, limit_bytes: int) -> bytes | None:
        try:
            return self.objects.read(require_inside(path), limit_bytes)
        except FileNotFoundError:
            return None

    def missing(self, items: Iterable[Item]) -> list[Item]:
        wanted = list(items)
        with ThreadPoolExecutor(THREADS) as pool:
            found = pool.map(lambda item: self.objects.head(require_inside(item.path)), wanted)
            return [
                item
                for item, there in zip(wanted, found, strict=True)
                if not there or there.size_bytes != item.size_bytes
            ]

    def put(self, items: Sequence[Item], on_bytes: OnBytes) -> None:
        for item in items:
            path = require_inside(item.path)
            if item.body:
                self._copy(item.body, path)
            elif item.source:
                stream = _Checked(item)
                size, sha256 = item.size_bytes, item.sha256
                self.objects.put(path, stream, size_bytes=size, sha256=sha256, on_bytes=on_bytes)
            else:
                self.objects.put(path, item.content, cache_control=FRESH)

    def _copy(self, body: str, path: str) -> None:
        try:
            self.objects.copy(body, path)
        except FileNotFoundError as error:
            raise HostUnfit(f"{self.label}/{body} is missing") from error

    def switch(self, path: str, content: bytes, before: bytes | None) -> None:
        found = self.objects.head(path)
        if self.read(path, SMALL_BYTES) != before:
            raise Stale(f"another publisher has changed {self.label}/{path}", "publish again")
        if not self._can_lock:
            if not all(lock.hold() for lock in self._held):
                raise self._busy()
            self.objects.put(path, content, cache_control=FRESH)
            return
        etag = (
            self.objects.put_if_match(path, content, found.etag, "application/json")
            if found
            else self.objects.put_if_absent(path, content, "application/json")
        )
        if not etag:
            raise Stale(f"another publisher has changed {self.label}/{path}", "publish again")

    def remove(self, paths: Sequence[str]) -> None:
        self.objects.delete([require_inside(path) for path in paths])

    def pointers(self) -> list[str]:
        """Those of the channels that have a journal: the bucket is not listed for this."""
        prefix = f"{PRIVATE}/"
        found = [one.path.removeprefix(prefix) for one in self.objects.list(prefix)]
        return sorted(name for name in found if name.endswith(".json"))


class _Checked:
    """An item's source as a stream that is read once; its end is an error if it is not what was
    built."""

    def __init__(self, item: Item) -> None:
        assert item.source
        self._item, self._pieces = item, item.source.pieces()
        self._rest, self._digest, self._size = b"", hashlib.sha256(), 0

    def read(self, size: int, /) -> bytes:
        while not self._rest and (piece := next(self._pieces, b"")):
            self._digest.update(piece)
            self._size += len(piece)
            self._rest = piece
        data, self._rest = self._rest[:size], self._rest[size:]
        done = (self._size, self._digest.hexdigest())
        if not data and done != (self._item.size_bytes, self._item.sha256):
            raise not_what_was_built(self._item)
        return data


class _Lock:
    """Renews our lock object while the body runs, and removes it afterwards."""

    def __init__(self, objects: Objects, etag: str, every_s: float) -> None:
        self._objects, self._etag, self._every_s = objects, etag, every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._etag:
            self._objects.delete([LOCK])

    def _renew(self) -> None:
        while self._etag and not self._stop.wait(self._every_s):
            try:
                again = self._objects.put_if_match(LOCK, uuid.uuid4().hex.encode(), self._etag)
            except HostUnfit:
                continue  # the next try may reach it; the pointer moves by a conditional write
            self._etag = again or ""
