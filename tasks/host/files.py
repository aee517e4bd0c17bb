"""Writing files atomically and durably."""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tasks.errors import HostUnfit


def write_all(fd: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def partial_of(target: Path) -> Path:
    """The name of `target` while it is being written."""
    return target.with_name(f".{target.name}.partial")


@contextmanager
def replaced(target: Path) -> Iterator[BinaryIO]:
    """A file that becomes `target` once it is complete and on the disk.

    Its folder is created. A partial file of an earlier, killed writer is removed; after an error
    only the previous `target` is left.
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


def make_folder(folder: Path, mode: int = 0o755) -> Path:
    """Create `folder` and its missing parents; `HostUnfit` where that fails."""
    try:
        folder.mkdir(mode=mode, parents=True, exist_ok=True)
    except OSError as error:
        raise HostUnfit(f"cannot create the folder {folder}: {error.strerror}") from error
    return folder


def private(folder: Path) -> Path:
    """Create `folder`, or restrict an existing one, for its owner only (mode 0700)."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if stat.S_IMODE(folder.stat().st_mode) & 0o077:
        folder.chmod(0o700)
    return folder


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_file_system(folder: Path) -> None:
    """Write the cached data of the folder's file system to the disk: syncfs(2)."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if _libc.syncfs(fd):
            raise OSError(ctypes.get_errno(), "cannot sync its file system", str(folder))
    finally:
        os.close(fd)


_libc = ctypes.CDLL(None, use_errno=True)
