"""Writing files that are there whole or not at all, and the sums people check them by."""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

ALGORITHMS = ("sha256", "sha512", "blake2b")


class Sums:
    """The write end of a file, with its size and checksums so far."""

    def __init__(self, file: BinaryIO | None = None) -> None:
        self._file = file
        self._hashes = {name: hashlib.new(name) for name in ALGORITHMS}
        self.size_bytes = 0

    def write(self, data: bytes) -> None:
        self.size_bytes += len(data)
        for value in self._hashes.values():
            value.update(data)
        if self._file:
            write_all(self._file.fileno(), data)

    def hex(self, algorithm: str) -> str:
        return self._hashes[algorithm].hexdigest()


def write_all(fd: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def partial_of(target: Path) -> Path:
    """The name that `target` has while it is being written."""
    return target.with_name(f".{target.name}.partial")


@contextmanager
def replaced(target: Path) -> Iterator[BinaryIO]:
    """A file that becomes `target` once it is complete and on the disk.

    Its folder is made. What an earlier writer that was killed left behind is removed; an error
    leaves nothing but the `target` of before.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = partial_of(target)
    unfinished.unlink(missing_ok=True)
    try:
        with unfinished.open("xb", buffering=0) as file:
            yield file
            os.fsync(file.fileno())
        unfinished.rename(target)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


def private(folder: Path) -> Path:
    """Make `folder`, or what is there by that name, a folder for its owner alone."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if stat.S_IMODE(folder.stat().st_mode) & 0o077:
        folder.chmod(0o700)
    return folder


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` outlive a power cut."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def alone(target: Path, *, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Keeps every other process that wants to make `target` out, on this machine.

    The kernel ends the lock with the process that holds it. The file it hangs on lies beside
    `target` and is removed with the lock. `on_wait` is called where somebody is in already.
    """
    path = target.with_name(f".{target.name}.lock")
    descriptor = _locked(path, on_wait)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _locked(path: Path, on_wait: Callable[[], None]) -> int:
    """An open, locked file at `path`: not one that its last holder has just removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        os.close(descriptor)
