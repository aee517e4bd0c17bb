"""A mirror as the public reads it: by HTTP, or as a folder of this machine.

Nothing that a mirror says is believed: each read has a limit, and who reads compares digests.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, urlsplit

import httpx

from orchestrator.release.targets.target import require_inside
from tasks import __version__
from tasks.errors import BadInput, HostUnfit, Untrusted
from tasks.store.folder import file_of

PIECE_BYTES = 1 << 20
TIMEOUT_S = 30.0
SMALL_S = 60.0
GONE = (404, 410)
HEADERS = {"User-Agent": f"stagefarm/{__version__}", "Accept-Encoding": "identity"}


class Mirror(Protocol):
    """`HostUnfit` where it cannot be reached, or has not what is asked for."""

    @property
    def url(self) -> str:
        """The URL of its root, without a slash at the end."""

    def size(self, path: str) -> int | None:
        """The size of a file, None if it is missing."""

    def pieces(self, path: str, limit_bytes: int) -> Iterator[bytes]:
        """The content of a file; `Untrusted` once it is larger than `limit_bytes`."""

    def find(self, path: str, limit_bytes: int) -> bytes | None:
        """The content of a small file, within a minute; None if it is missing."""


def whole(mirror: Mirror, path: str, limit_bytes: int) -> bytes:
    """The content of a small file."""
    return b"".join(mirror.pieces(path, limit_bytes))


@contextmanager
def mirror_at(url: str) -> Iterator[Mirror]:
    """Yields the mirror whose root is at `url`: http, https or file."""
    scheme = urlsplit(url).scheme
    if scheme == "file":
        yield FolderMirror(url.rstrip("/"), file_of(url))
        return
    if scheme not in ("http", "https"):
        raise BadInput(f"{url!r} is not the URL of a mirror", "such as https://mirror.example.org")
    with httpx.Client(follow_redirects=True, headers=HEADERS) as client:
        yield HttpMirror(url.rstrip("/"), client)


@dataclass(frozen=True)
class FolderMirror:
    url: str
    root: Path

    def size(self, path: str) -> int | None:
        try:
            return (self.root / require_inside(path)).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def find(self, path: str, limit_bytes: int) -> bytes | None:
        there = (self.root / require_inside(path)).is_file()
        return whole(self, path, limit_bytes) if there else None

    def pieces(self, path: str, limit_bytes: int) -> Iterator[bytes]:
        file = self.root / require_inside(path)
        try:
            with file.open("rb") as opened:
                yield from _limited(iter(lambda: opened.read(PIECE_BYTES), b""), limit_bytes, path)
        except OSError as error:
            raise HostUnfit(f"cannot read {file}: {error.strerror}") from error


@dataclass(frozen=True)
class HttpMirror:
    url: str
    client: httpx.Client

    def size(self, path: str) -> int | None:
        with self._told(path):
            answer = self.client.head(self._at(path), timeout=TIMEOUT_S)
            if answer.status_code in GONE:
                return None
            self._require_ok(answer, path)
            length = answer.headers.get("Content-Length", "")
            return int(length) if length.isdecimal() else None

    def find(self, path: str, limit_bytes: int) -> bytes | None:
        with (
            self._told(path),
            self.client.stream("GET", self._at(path), timeout=TIMEOUT_S) as answer,
        ):
            if answer.status_code in GONE:
                return None
            self._require_ok(answer, path)
            pieces = _limited(answer.iter_raw(PIECE_BYTES), limit_bytes, path)
            return b"".join(_in_time(pieces, f"{self.url}/{path}"))

    def pieces(self, path: str, limit_bytes: int) -> Iterator[bytes]:
        with (
            self._told(path),
            self.client.stream("GET", self._at(path), timeout=TIMEOUT_S) as answer,
        ):
            self._require_ok(answer, path)
            yield from _limited(answer.iter_raw(PIECE_BYTES), limit_bytes, path)

    def _at(self, path: str) -> str:
        return f"{self.url}/{quote(require_inside(path))}"

    def _require_ok(self, answer: httpx.Response, path: str) -> None:
        if answer.status_code != httpx.codes.OK:
            raise HostUnfit(f"{self.url}/{path}: HTTP {answer.status_code} {answer.reason_phrase}")

    @contextmanager
    def _told(self, path: str) -> Iterator[None]:
        try:
            yield
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            why = str(error) or type(error).__name__
            raise HostUnfit(f"cannot fetch {self.url}/{path}: {why}") from error


def _limited(pieces: Iterator[bytes], limit_bytes: int, path: str) -> Iterator[bytes]:
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > limit_bytes:
            raise Untrusted(f"{path} is larger than {limit_bytes:,} bytes, which it should be")
        yield piece


def _in_time(pieces: Iterator[bytes], what: str) -> Iterator[bytes]:
    """`pieces`, unless they come so slowly that somebody might wait for ever."""
    until = time.monotonic() + SMALL_S
    for piece in pieces:
        if time.monotonic() > until:
            raise HostUnfit(f"{what} takes longer than {SMALL_S:.0f} s")
        yield piece
