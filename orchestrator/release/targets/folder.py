"""A mirror in a folder of this machine."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from orchestrator.release.targets.target import (
    PRIVATE,
    Item,
    OnBytes,
    not_what_was_built,
    require_inside,
)
from tasks.errors import HostUnfit, Stale
from tasks.host.files import make_folder, partial_of, replaced, sync_folder, write_all
from tasks.host.locks import try_lock

SMALL_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class FolderTarget:
    """`root` is served at `url`."""

    root: Path
    url: str

    @property
    def label(self) -> str:
        return str(self.root)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        file = make_folder(self.root / PRIVATE, 0o700) / "lock"
        with try_lock(file) as held:
            if not held:
                raise Stale(
                    f"another publisher is at work on {self.root}",
                    "publish again once it has ended",
                )
            yield

    def read(self, path: str, limit_bytes: int) -> bytes | None:
        with _told(), suppress(FileNotFoundError), self._at(path).open("rb") as file:
            content = file.read(limit_bytes + 1)
            if len(content) > limit_bytes:
                raise HostUnfit(f"{self._at(path)} is larger than {limit_bytes:,} bytes")
            return content
        return None

    def missing(self, items: Iterable[Item]) -> list[Item]:
        return [item for item in items if self._size(item.path) != item.size_bytes]

    def put(self, items: Sequence[Item], on_bytes: OnBytes) -> None:
        with _told():
            for item in items:
                target = self._at(item.path)
                self._make_parents(target)
                if not self._is_inside(target.parent):
                    raise HostUnfit(f"{target.parent} leads out of the mirror", "remove that link")
                if item.body:
                    _link(self._at(item.body), target)
                elif item.source:
                    _copy(item, target, on_bytes)
                else:
                    with replaced(target) as file:
                        write_all(file.fileno(), item.content)

    def switch(self, path: str, content: bytes, before: bytes | None) -> None:
        if self.read(path, SMALL_BYTES) != before:
            raise Stale(f"another publisher has changed {self._at(path)}", "publish again")
        self.put([Item(path=path, content=content)], lambda _: None)

    def remove(self, paths: Sequence[str]) -> None:
        with _told():
            for path in paths:
                target = self._at(path)
                if self._is_inside(target.parent):
                    target.unlink(missing_ok=True)
                    partial_of(target).unlink(missing_ok=True)
                    self._remove_empty(target.parent)

    def pointers(self) -> list[str]:
        return sorted(file.name for file in self.root.glob("*.json"))

    def _at(self, path: str) -> Path:
        return self.root / require_inside(path)

    def _size(self, path: str) -> int | None:
        try:
            return self._at(path).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _is_inside(self, folder: Path) -> bool:
        """Whether no link leads from `folder` out of the mirror, whoever else may write to it."""
        return folder.resolve().is_relative_to(self.root.resolve()) and folder.is_dir()

    def _make_parents(self, target: Path) -> None:
        """Create the folders of `target`, safe from a power cut."""
        folder = target.parent
        if folder.is_dir():
            return
        self._make_parents(folder)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)

    def _remove_empty(self, folder: Path) -> None:
        while folder != self.root:
            try:
                folder.rmdir()
            except OSError:
                return
            folder = folder.parent


def _copy(item: Item, target: Path, on_bytes: OnBytes) -> None:
    assert item.source
    digest, size = hashlib.sha256(), 0
    with replaced(target) as file:
        for piece in item.source.pieces():
            digest.update(piece)
            size += len(piece)
            write_all(file.fileno(), piece)
            on_bytes(len(piece))
        if (size, digest.hexdigest()) != (item.size_bytes, item.sha256):
            raise not_what_was_built(item)


def _link(body: Path, target: Path) -> None:
    """Show `body` at `target` too, by a relative link."""
    way = os.path.relpath(body, target.parent)
    if target.is_symlink() and str(target.readlink()) == way:
        return
    fresh = partial_of(target)
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(way)
    fresh.rename(target)
    sync_folder(target.parent)


@contextmanager
def _told() -> Iterator[None]:
    """Turns errors of the file system into `HostUnfit`."""
    try:
        yield
    except OSError as error:
        where = error.filename2 or error.filename or "the mirror"
        raise HostUnfit(f"cannot publish to {where}: {error.strerror}") from error
