"""What a store does, whatever it is made of; and what a file in one does.

Artifacts lie in `<store>/<batch or build>/<build>/<attempt>/`, and, until the build has succeeded,
its checkpoints in a place named by build, attempt and step. An attempt has
one holder, so nobody else writes to its place, and no lock or conditional write is needed: what
lies there counts once the ledger has accepted the attempt, and is never touched again. Evidence
that comes later, such as a rebuild's result, is added beside it, in files of its own.

`HostUnfit` says that the store cannot take or give something now. Sweeping and dropping raise
nothing: what cannot be removed now is left to the next sweep.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Protocol

from tasks.errors import PackFailed
from tasks.model import Build
from tasks.results import Artifact, Checkpoint

OnBytes = Callable[[int], object]
"""Is told the size of each piece that has been moved. What it raises ends the transfer."""

PIECE_BYTES = 1 << 20


class Store(Protocol):
    def place(self, build: Build, attempt: int) -> str:
        """The URL of an attempt's folder."""

    def unfit(self) -> str:
        """Why this host cannot use the store now; empty if it can. Cheap enough to ask often."""

    def remark(self) -> str:
        """What an operator should know of the store, for the log; empty if there is nothing."""

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
        """Copy `artifacts`, and `extras` by name, to their place; returns the artifacts with their
        URLs. `PackFailed` if a checksum differs from that of its step, `HostUnfit` if writing
        fails, which may be tried again, `Stale` if the attempt was accepted before."""

    def withdraw(self, build: Build, attempt: int, counted: Collection[int] = ()) -> None:
        """Remove what an attempt stored, unless the ledger accepted it."""

    def sweep(self, build: Build, attempt: int, counted: Collection[int]) -> None:
        """Remove what attempts before `attempt` left here, except those in `counted`."""

    def new_checkpoint(
        self, build: Build, attempt: int, step: int, host: str, on_bytes: OnBytes = int
    ) -> AbstractContextManager[Path]:
        """An empty folder of this machine to fill, which becomes the checkpoint's on success."""

    def kept_checkpoint(
        self, build: Build, kept: Checkpoint, on_bytes: OnBytes = int
    ) -> AbstractContextManager[Path | None]:
        """A folder of this machine with the files of a checkpoint, None if there is none. Who
        reads them compares their digests with the signed ones of `kept`."""

    def sweep_checkpoints(self, keep_s: float) -> None:
        """Remove checkpoints older than `keep_s`, left by builds that never succeeded."""

    def drop_checkpoint(self, build: Build, attempt: int, step: int) -> None:
        """Remove a checkpoint that does not count."""

    def drop_checkpoints(self, build: Build) -> None:
        """Remove all checkpoints of a build that has succeeded."""


class StoredFile(Protocol):
    """A file that a URL names, and what lies beside it. Nothing here vouches for its content: the
    caller compares it with what is signed. A missing file is `FileNotFoundError`."""

    @property
    def name(self) -> str: ...

    @property
    def url(self) -> str: ...

    def size(self) -> int: ...

    def read(self, limit_bytes: int) -> bytes:
        """The content of a small file; `HostUnfit` if it is larger."""

    def pieces(self) -> Iterator[bytes]:
        """The content, in pieces."""

    def write(self, content: bytes) -> None:
        """Make it a file with this content, whole or not at all; `HostUnfit` where that fails."""

    def fetched(self, sha256: str, on_bytes: OnBytes = int) -> AbstractContextManager[Path]:
        """The file on this machine. If it is elsewhere, this is a copy that lasts as long as the
        context, and has the digest `sha256` unless that is empty; else `Altered`. If it is here,
        it is the file itself as it is: who reads it compares its digest."""

    def sibling(self, name: str) -> StoredFile:
        """The file of that name beside this one, there or not."""

    def sidecars(self) -> list[StoredFile]:
        """The files beside this one whose names begin with its name and a dot, in order."""


class Packed:
    """An artifact as a stream that is read once; reading its end raises `PackFailed` if it is not
    what was packed."""

    def __init__(self, artifact: Artifact, file: BinaryIO) -> None:
        self._artifact, self._file = artifact, file
        self._digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._digest.update(data)
        if not data and self._digest.hexdigest() != self._artifact.sha256:
            raise PackFailed(f"{self._artifact.name} is not what was packed: its sha256 differs")
        return data


def require_packed(artifact: Artifact) -> None:
    """`PackFailed` if the artifact is not where it was packed to."""
    if not Path(artifact.path).exists():
        hint = "does a hook move it after it was packed?"
        raise PackFailed(f"{artifact.name} is not where it was packed to", hint)
