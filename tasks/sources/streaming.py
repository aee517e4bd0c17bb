"""Unpacking a tarball while it is still being fetched: the disk works while the network does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from tasks.archive.formats import Damaged
from tasks.archive.tarball import Limits, unpack
from tasks.errors import StagefarmError
from tasks.host.removal import remove_tree
from tasks.metering import Meter
from tasks.reporting import Silent

LOOK_S = 0.1
"""How often a file that grows is looked at when it did not grow."""


@dataclass(slots=True)
class Scratch:
    """A folder to unpack into, and whether a whole tarball has been."""

    folder: Path
    limits: Limits
    is_whole: bool = False


class Unpacking:
    """Unpacks `file` while the body downloads it.

    Whatever goes wrong here only means that the tarball is unpacked again when it is there, and
    errors are reported then. `restarts` counts how often the file was started again.
    """

    def __init__(
        self, file: Path, name: str, scratch: Scratch, restarts: Callable[[], int]
    ) -> None:
        self._path = file
        self._name = name
        self._scratch = scratch
        self._restarts = restarts
        self._begun_at = restarts()
        self._file: BinaryIO | None = None
        self._complete = threading.Event()
        self._given_up = False
        self._thread = threading.Thread(target=self._unpack, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._given_up = error is not None
        self._complete.set()
        self._thread.join()
        if not self._scratch.is_whole:
            remove_tree(self._scratch.folder)

    def _unpack(self) -> None:
        meter = Meter(Silent(), "unpack")
        scratch = self._scratch
        try:
            unpack(self._read, self._name, scratch.folder, meter=meter, limits=scratch.limits)
            scratch.is_whole = not self._given_up and self._restarts() == self._begun_at
        except (StagefarmError, OSError):
            scratch.is_whole = False
        finally:
            if self._file:
                self._file.close()

    def _read(self, size: int) -> bytes:
        """What is there of the file; waits where there is nothing yet."""
        while True:
            complete = self._complete.is_set()
            if self._given_up or self._restarts() != self._begun_at:
                raise Damaged("its download was started again")
            if data := self._more(size):
                return data
            if complete:
                return b""
            self._complete.wait(LOOK_S)

    def _more(self, size: int) -> bytes:
        if not self._file and self._path.exists():
            self._file = self._path.open("rb", buffering=0)
        return self._file.read(size) if self._file else b""
