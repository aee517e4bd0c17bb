"""Stores artifacts in `<store>/<batch or build>/<build>/<attempt>/`, and, until the build has
succeeded, its checkpoints in `<store>/<batch or build>/<build>/checkpoints/<attempt>.<step>/`.

A folder is filled as `<name>.<host>.partial`, and renamed when it is complete and on disk. It is
valid only once the ledger has accepted it: an attempt that the ledger rejects removes its folder.
The folder of an attempt that the ledger accepted is never touched again.

`HostUnfit` says that the store cannot take something now. Sweeping raises nothing: what cannot be
removed now is left to the next sweep.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tasks.errors import BadInput, HostUnfit, PackFailed, Stale
from tasks.host.removal import remove_tree
from tasks.model import Artifact, Build

logger = logging.getLogger(__name__)

PIECE_BYTES = 1024 * 1024


def file_of(url: str) -> Path:
    """The file that a `file://` URL names."""
    return Path(unquote(urlsplit(url).path))


@dataclass(frozen=True, slots=True)
class FileStore:
    """A folder that every host of the farm sees."""

    root: Path

    @classmethod
    def at(cls, url: str) -> FileStore:
        parts = urlsplit(url)
        if parts.scheme != "file" or not parts.path.startswith("/"):
            raise BadInput(f"store_url: cannot store to {url!r}", "such as file:///srv/stages")
        return cls(file_of(url))

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
    ) -> tuple[Artifact, ...]:
        """Copy `artifacts`, and `extras` by name, to their folder, all or nothing; returns the
        artifacts with their URLs. `PackFailed` if a checksum differs from that of its step,
        `HostUnfit` if writing fails, `Stale` if the attempt was accepted before."""
        folder = self.folder(build, attempt)
        if attempt in counted:
            raise Stale(f"attempt {attempt} has ended: {folder} stays as it is")
        with _whole(folder, folder.with_name(f"{attempt}.{host}.partial")) as partial:
            for artifact in artifacts:
                _bring(artifact, partial / artifact.name)
            for name, content in extras.items():
                _write(partial / name, content)
        return tuple(
            replace(artifact, path=(folder / artifact.name).as_uri()) for artifact in artifacts
        )

    def withdraw(self, build: Build, attempt: int, counted: Collection[int] = ()) -> None:
        """Remove the folder of an attempt, unless the ledger accepted it."""
        if attempt not in counted:
            _sweep(self.folder(build, attempt))

    def sweep(self, build: Build, attempt: int, counted: Collection[int]) -> None:
        """Remove what attempts before `attempt` left here, except those in `counted`."""
        for leftover in self.folder(build, attempt).parent.glob("[0-9]*"):
            number = int(leftover.name.partition(".")[0])
            left_behind = leftover.suffix == ".partial" or number not in counted
            if left_behind and number < attempt:
                _sweep(leftover)

    def checkpoint(self, build: Build, attempt: int, step: int) -> Path:
        """The folder of the checkpoint after `step` of `attempt`."""
        return self._checkpoints(build) / f"{attempt}.{step}"

    @contextmanager
    def new_checkpoint(self, build: Build, attempt: int, step: int, host: str) -> Iterator[Path]:
        """Yields an empty folder to fill, which becomes the checkpoint's on success. Incomplete
        checkpoints of earlier attempts are removed."""
        for leftover in self._checkpoints(build).glob("*.partial"):
            if int(leftover.name.partition(".")[0]) < attempt:
                _sweep(leftover)
        folder = self.checkpoint(build, attempt, step)
        with _whole(folder, folder.with_name(f"{folder.name}.{host}.partial")) as partial:
            yield partial

    def sweep_checkpoints(self, keep_s: float) -> None:
        """Remove checkpoints older than `keep_s`, left by builds that never succeeded."""
        latest = time.time() - keep_s
        for folder in self.root.glob("*/*/checkpoints/*"):
            with suppress(OSError):  # another host may be sweeping
                if folder.stat().st_mtime < latest:
                    _sweep(folder)
                    folder.parent.rmdir()

    def drop_checkpoint(self, build: Build, attempt: int, step: int) -> None:
        _sweep(self.checkpoint(build, attempt, step))

    def drop_checkpoints(self, build: Build) -> None:
        """Remove all checkpoints of a build that has succeeded."""
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


def _bring(artifact: Artifact, target: Path) -> None:
    """Copy a file and verify its checksum."""
    if not Path(artifact.path).exists():
        hint = "does a hook move it after it was packed?"
        raise PackFailed(f"{artifact.name} is not where it was packed to", hint)
    digest = hashlib.sha256()
    with Path(artifact.path).open("rb") as source, target.open("xb") as sink:
        while piece := source.read(PIECE_BYTES):
            digest.update(piece)
            sink.write(piece)
        sink.flush()
        os.fsync(sink.fileno())
    if digest.hexdigest() != artifact.sha256:
        raise PackFailed(f"{artifact.name} is not what was packed: its sha256 differs")


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
