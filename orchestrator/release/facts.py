"""What is computed from the content of files, once for each content: signatures, digests.

A tarball is hundreds of megabytes and never changes, so what views need to know of it beyond the
catalog is learned in one pass over it, and kept in a folder on the publisher's machine. Signatures
of small texts are kept there too: what did not change keeps its signature, byte by byte.
"""

from __future__ import annotations

import hashlib
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue

from orchestrator.release.catalog import File
from tasks.archive.decompress import Read
from tasks.errors import Untrusted, of_system

Reader = Callable[[File], Iterator[bytes]]
"""Returns the content of a file of the mirror in pieces: some are larger than memory."""

DAY_S = 24 * 3600.0
AHEAD = 8
"""How many pieces may wait for the slowest of those who learn from them."""


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that `learn` computes from a content. Its `key` is what the result depends on
    apart from the content, such as the fingerprint of a signing key."""

    key: str
    learn: Callable[[Read], bytes]


class Facts:
    """Learns facts of contents, and keeps them in `folder`: `<sha256 of the content>/<sha256 of the
    key>`, with a checksum, so that what a crash left unfinished is learned again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, file: File, fact: Fact, read: Reader) -> bytes:
        """A fact of a body of the catalog; `Untrusted` if the body is not what the catalog says."""
        return self.learn(file, (fact,), read)[0]

    def learn(self, file: File, facts: Iterable[Fact], read: Reader) -> tuple[bytes, ...]:
        """Several facts of a body, in one pass over it; without one if all are known."""
        wanted = tuple(facts)
        known = {fact.key: self._known(file.sha256, fact.key) for fact in wanted}
        missing = tuple(fact for fact in wanted if known[fact.key] is None)
        if missing:
            learned = _in_one_pass(_verified(read(file), file), missing)
            for fact, value in zip(missing, learned, strict=True):
                known[fact.key] = value
                self._keep(file.sha256, fact.key, value)
        return tuple(known[fact.key] or b"" for fact in wanted)

    def of_content(self, content: bytes, fact: Fact) -> bytes:
        digest = hashlib.sha256(content).hexdigest()
        if (value := self._known(digest, fact.key)) is None:
            value = fact.learn(_reader(iter((content,))))
            self._keep(digest, fact.key, value)
        return value

    def prune(self, unused_s: float = 90 * DAY_S) -> int:
        """Remove what was not asked for since; returns how many facts that were."""
        old = time.time() - unused_s
        gone = [path for path in self._folder.glob("*/*") if path.stat().st_mtime < old]
        for path in gone:
            path.unlink(missing_ok=True)
            with suppress(OSError):
                path.parent.rmdir()
        return len(gone)

    def _path(self, digest: str, key: str) -> Path:
        return self._folder / digest / hashlib.sha256(key.encode()).hexdigest()

    def _known(self, digest: str, key: str) -> bytes | None:
        path = self._path(digest, key)
        try:
            checksum, _, value = path.read_bytes().partition(b"\n")
            if hashlib.sha256(value).hexdigest().encode() != checksum:
                return None
            if path.stat().st_mtime < time.time() - DAY_S:
                path.touch()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise of_system(error) from error
        return value

    def _keep(self, digest: str, key: str, value: bytes) -> None:
        path = self._path(digest, key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as fresh:
                fresh.write(hashlib.sha256(value).hexdigest().encode() + b"\n" + value)
            Path(fresh.name).replace(path)
        except OSError as error:
            raise of_system(error) from error


def _verified(pieces: Iterator[bytes], file: File) -> Iterator[bytes]:
    """`pieces`; `Untrusted` at their end, before anything learned of them counts, if they are not
    the content of `file`."""
    digest, size = hashlib.sha256(), 0
    for piece in pieces:
        digest.update(piece)
        size += len(piece)
        if size > file.size_bytes:
            break
        yield piece
    if digest.hexdigest() != file.sha256 or size != file.size_bytes:
        raise Untrusted(f"{file.path} is not what the catalog says: its sha256 or size differs")


def _reader(pieces: Iterator[bytes]) -> Read:
    """A `read` that never returns more than it was asked for, and less only at the end."""
    rest = bytearray()

    def read(size: int) -> bytes:
        while len(rest) < size and (piece := next(pieces, b"")):
            rest.extend(piece)
        data = bytes(rest[:size])
        del rest[:size]
        return data

    return read


@dataclass
class _Learner:
    """A thread that learns one fact from pieces that it is given."""

    fact: Fact
    given: Queue[bytes] = field(default_factory=lambda: Queue(maxsize=AHEAD))
    value: bytes = b""
    error: BaseException | None = None

    def run(self) -> None:
        pieces = iter(self.given.get, b"")
        try:
            self.value = self.fact.learn(_reader(pieces))
        except BaseException as error:
            self.error = error
        for _ in pieces:  # whoever gives them must not wait for ever
            pass


def _in_one_pass(pieces: Iterator[bytes], facts: tuple[Fact, ...]) -> list[bytes]:
    learners = [_Learner(fact) for fact in facts]
    threads = [threading.Thread(target=one.run, daemon=True) for one in learners]
    for thread in threads:
        thread.start()
    try:
        for piece in filter(None, pieces):
            for learner in learners:
                learner.given.put(piece)
    finally:
        for learner, thread in zip(learners, threads, strict=True):
            learner.given.put(b"")
            thread.join()
    for learner in learners:
        if learner.error:
            raise learner.error
    return [learner.value for learner in learners]
