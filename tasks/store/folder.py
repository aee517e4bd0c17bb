"""A store that is a folder which every host of the farm sees.

A folder is filled as `<name>.<host>.partial`, and renamed when it is complete and on disk. It is
valid only once the ledger has accepted it: an attempt that the ledger rejects removes its folder.
Checkpoints lie in `<store>/<batch or build>/<build>/checkpoints/<attempt>.<step>/`.
"""

from __future__ import annotations

import glob
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tasks.errors import BadInput, HostUnfit, Stale
from tasks.host.files import replaced, write_all
from tasks.host.removal import remove_tree
from tasks.model import Build
from tasks.results import Artifact, Checkpoint
from tasks.store.store import PIECE_BYTES, OnBytes, Packed, StoredFile, require_packed

logger = logging.getLogger(__name__)

READABLE = 0o644


def file_of(url: str) -> Path:
    """The file that a `file://` URL names."""
    return Path(unquote(urlsplit(url).path))


@dataclass(frozen=True, slots=True)
class FolderFile:
    """A file of this machine, as a `StoredFile`."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def url(self) -> str:
        return self.path.as_uri()

    def size(self) -> int:
        return self.path.stat().st_size

    def read(self, limit_bytes: int) -> bytes:
        if self.size() > limit_bytes:
            raise HostUnfit(f"{self.path} has more than {limit_bytes:,} bytes")
        return self.path.read_bytes()

    def pieces(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            while piece := file.read(PIECE_BYTES):
                yield piece

    def write(self, content: bytes) -> None:
        try:
            with replaced(self.path) as file:
                write_all(file.fileno(), content)
                os.fchmod(file.fileno(), READABLE)
        except OSError as error:
            raise HostUnfit(f"cannot write {self.path}: {error.strerror}") from error

    @contextmanager
    def fetched(self, sha256: str, on_bytes: OnBytes = int) -> Iterator[Path]:
        yield self.path

    def sibling(self, name: str) -> FolderFile:
        return FolderFile(self.path.with_name(name))

    def sidecars(self) -> list[StoredFile]:
        found = sorted(self.path.parent.glob(f"{glob.escape(self.name)}.*"))
        return [FolderFile(path) for path in found]


@dataclass(frozen=True, slots=True)
class FileStore:
    """A folder that every host of the farm sees."""

    root: Path

    @classmethod
    def at(cls, url: str) -> FileStore:
        parts = urlsplit(url)
        if parts.scheme != "file" or not parts.path.startswith("/"):
            raise BadInput(
                f"store_url: cannot store to {url!r}",
                "such as file:///srv/stages or s3://bucket/prefix",
            )
        return cls(file_of(url))

    def place(self, build: Build, attempt: int) -> str:
        return self.folder(build, attempt).as_uri()

    def unfit(self) -> str:
        reason = cannot_write(self.root)
        return f"cannot write to the store: {reason}" if reason else ""

    def remark(self) -> str:
        return ""

    def folder(self, build: Build, attempt: int) -> Path:
        return self.root / (build.batch or build.id) / build.id / str(attempt)

    def put(
        self,
        build: Build,
        attempt: int,
        host: str,
        artifacts: Sequence[Artifact],
        extras: Mapping[str, Path | bytes],
        counted: Collection[int] = (),
        on_bytes: OnBytes = int,
    ) -> tuple[Artifact, ...]:
        """See `Store.put`; all or nothing."""
        folder = self.folder(build, attempt)
        if attempt in counted:
            raise Stale(f"attempt {attempt} has ended: {folder} stays as it is")
        with _whole(folder, folder.with_name(f"{attempt}.{host}.partial")) as partial:
            for artifact in artifacts:
                _bring(artifact, partial / artifact.name, on_bytes)
            for name, content in extras.items():
                _write(partial / name, content)
        return tuple(
            replace(artifact, path=(folder / artifact.name).as_uri()) for artifact in artifacts
        )

    def withdraw(self, build: Build, attempt: int, counted: Collection[int] = ()) -> None:
        if attempt not in counted:
            _sweep(self.folder(build, attempt))

    def sweep(self, build: Build, attempt: int, counted: Collection[int]) -> None:
        for leftover in self.folder(build, attempt).parent.glob("[0-9]*"):
            number = int(leftover.name.partition(".")[0])
            left_behind = leftover.suffix == ".partial" or number not in counted
            if left_behind and number < attempt:
                _sweep(leftover)

    def checkpoint(self, build: Build, attempt: int, step: int) -> Path:
        """The folder of the checkpoint after `step` of `attempt`."""
        return self._checkpoints(build) / f"{attempt}.{step}"

    @contextmanager
    def new_checkpoint(
        self, build: Build, attempt: int, step: int, host: str, on_bytes: OnBytes = int
    ) -> Iterator[Path]:
        """See `Store.new_checkpoint`. Incomplete checkpoints of earlier attempts are removed."""
        for leftover in self._checkpoints(build).glob("*.partial"):
            if int(leftover.name.partition(".")[0]) < attempt:
                _sweep(leftover)
        folder = self.checkpoint(build, attempt, step)
        with _whole(folder, folder.with_name(f"{folder.name}.{host}.partial")) as partial:
            yield partial

    @contextmanager
    def kept_checkpoint(
        self, build: Build, kept: Checkpoint, on_bytes: OnBytes = int
    ) -> Iterator[Path | None]:
        folder = self.checkpoint(build, kept.attempt, kept.step)
        yield folder if folder.is_dir() else None

    def sweep_checkpoints(self, keep_s: float) -> None:
        latest = time.time() - keep_s
        for folder in self.root.glob("*/*/checkpoints/*"):
            with suppress(OSError):  # another host may be sweeping
                if folder.stat().st_mtime < latest:
                    _sweep(folder)
                    folder.parent.rmdir()

    def drop_checkpoint(self, build: Build, attempt: int, step: int) -> None:
        _sweep(self.checkpoint(build, attempt, step))

    def drop_checkpoints(self, build: Build) -> None:
        _sweep(self._checkpoints(build))

    def _checkpoints(self, build: Build) -> Path:
        return self.folder(build, 0).with_name("checkpoints")


@contextmanager
def _whole(folder: Path, partial: Path) -> Iterator[Path]:
    """Yields an empty folder to fill, which becomes `folder` on success, else is removed."""
    with ExitStack() as undo:
        undo.callback(_sweep, partial)
        try:
            remove_tree(partial)
            partial.mkdir(parents=True)
            yield partial
            _sync(partial)
            remove_tree(folder)  # left by the same attempt, whose process died
            partial.rename(folder)
            _sync(folder.parent)
        except OSError as error:
            raise HostUnfit(
                f"cannot store to {folder}: {error.strerror}",
                "see `stagefarm workers` for the host's disk, and store_url in its settings",
            ) from error


def _sweep(path: Path) -> None:
    """Remove what nobody needs; that it cannot be now is no failure of anything."""
    try:
        remove_tree(path)
    except (OSError, HostUnfit) as error:
        logger.warning("left in the store: %s", error)


def cannot_write(folder: Path) -> str:
    """Why nothing can be written to `folder`, which is created; empty if it can."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            file.write(b"x")
    except OSError as error:
        return f"{folder}: {error.strerror}"
    return ""


def _bring(artifact: Artifact, target: Path, on_bytes: OnBytes) -> None:
    """Copy a file and verify its checksum."""
    require_packed(artifact)
    with Path(artifact.path).open("rb") as source, target.open("xb") as sink:
        packed = Packed(artifact, source)
        while piece := packed.read(PIECE_BYTES):
            sink.write(piece)
            on_bytes(len(piece))
        sink.flush()
        os.fsync(sink.fileno())


def _write(target: Path, content: Path | bytes) -> None:
    if isinstance(content, bytes):
        target.write_bytes(content)
    elif content.exists():
        shutil.copyfile(content, target)
    _sync(target)


def _sync(path: Path) -> None:
    if not path.exists():
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
