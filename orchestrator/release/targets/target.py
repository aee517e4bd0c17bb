"""What a publisher asks of a mirror that it writes to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol

from tasks.errors import Untrusted
from tasks.store.store import StoredFile

PRIVATE = ".publisher"
"""The folder of the publishers' own files on a mirror."""

OnBytes = Callable[[int], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A file to write at `path`, relative to the root of the mirror: the content of `source`, whose
    digest is `sha256`, or `content`, or what is at the path `body` of the mirror already."""

    path: str
    size_bytes: int = 0
    sha256: str = ""
    source: StoredFile | None = None
    content: bytes = b""
    body: str = ""


class Target(Protocol):
    """A mirror. Each file is written whole or not at all, and is safe from a power cut when `put`
    returns. `HostUnfit` where the mirror cannot be reached, or has no room."""

    @property
    def label(self) -> str:
        """What people call it."""

    @property
    def url(self) -> str:
        """Its public URL."""

    def exclusive(self) -> AbstractContextManager[None]:
        """Let no other publisher write meanwhile; `Stale` if one does."""

    def read(self, path: str, limit_bytes: int) -> bytes | None:
        """The content of a small file, None if there is none."""

    def missing(self, items: Iterable[Item]) -> list[Item]:
        """Those that are not there with their size."""

    def put(self, items: Sequence[Item], on_bytes: OnBytes) -> None:
        """Write files. `Untrusted` if one has not its digest."""

    def switch(self, path: str, content: bytes, before: bytes | None) -> None:
        """Replace a file whose content is `before` (None: it is missing); `Stale` if it is not."""

    def remove(self, paths: Sequence[str]) -> None:
        """Remove files, those of them that are there."""

    def pointers(self) -> list[str]:
        """The names of the files at the root that may be pointers: `<channel>.json`."""


def is_inside(path: str) -> bool:
    """Whether `path` leads nowhere but below the root."""
    parts = PurePosixPath(path).parts
    return bool(parts) and parts[0] != "/" and ".." not in parts and "\0" not in path


def require_inside(path: str) -> str:
    """`path`; `Untrusted` if it leads out of the root."""
    if not is_inside(path):
        raise Untrusted(f"a path that leads out of the mirror: {path!r}")
    return path


def not_what_was_built(item: Item) -> Untrusted:
    where = item.source.url if item.source else item.path
    return Untrusted(
        f"{where} is not what was built: its size or sha256 differs",
        "stagefarm rebuild makes it again",
    )
