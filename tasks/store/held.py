"""A small file that is in memory, as a `StoredFile`: nothing lies beside it."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import HostUnfit
from tasks.store.store import OnBytes, StoredFile


@dataclass(frozen=True, slots=True)
class HeldFile:
    name: str
    content: bytes | None

    @property
    def url(self) -> str:
        return f"memory:{self.name}"

    def _content(self) -> bytes:
        if self.content is None:
            raise FileNotFoundError(errno.ENOENT, "not in memory", self.url)
        return self.content

    def size(self) -> int:
        return len(self._content())

    def read(self, limit_bytes: int) -> bytes:
        if self.size() > limit_bytes:
            raise HostUnfit(f"{self.name} has more than {limit_bytes:,} bytes")
        return self._content()

    def pieces(self) -> Iterator[bytes]:
        yield self._content()

    def write(self, content: bytes) -> None:
        raise HostUnfit(f"{self.name} is in memory only")

    @contextmanager
    def fetched(self, sha256: str, on_bytes: OnBytes = int) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="held-") as folder:
            target = Path(folder, self.name)
            target.write_bytes(self._content())
            on_bytes(self.size())
            yield target

    def sibling(self, name: str) -> HeldFile:
        return HeldFile(name, None)

    def sidecars(self) -> list[StoredFile]:
        return []
