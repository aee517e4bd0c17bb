"""Locks that the kernel releases when their holder exits: flock(2) on a file or a folder.

The holder may remove the locked path; a lock is valid only if the path still names the inode that
was locked.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

POLL_S = 0.1

_FILE = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@contextmanager
def lock(
    path: Path, *, shared: bool = False, on_wait: Callable[[], None] | None = None
) -> Iterator[None]:
    """Lock the file `path`, which is created if missing. Waits while another process holds the
    lock, and calls `on_wait` once before waiting."""
    if on_wait:
        with try_lock(path, shared=shared) as held:
            if held:
                yield
                return
        on_wait()
    with _closing(_acquire(path, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, _FILE)):
        yield


@contextmanager
def try_lock(path: Path, *, shared: bool = False, limit_s: float = 0.0) -> Iterator[bool]:
    """Try for `limit_s` to lock the file `path`, which is created if missing; yields whether it
    is locked."""
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    end = time.monotonic() + limit_s
    while (descriptor := _try_acquire(path, kind, _FILE)) is None and time.monotonic() < end:
        time.sleep(POLL_S)
    with _closing(descriptor):
        yield descriptor is not None


@contextmanager
def try_lock_folder(folder: Path) -> Iterator[bool]:
    """Try to lock `folder` itself; yields False if it is missing or locked."""
    descriptor = _try_acquire(folder, fcntl.LOCK_EX, _FOLDER)
    with _closing(descriptor):
        yield descriptor is not None


def hold_folder(folder: Path) -> int | None:
    """Take a shared lock of `folder`; None if it is missing or locked exclusively. Returns a
    descriptor that exec and child processes inherit; the lock ends with its last copy."""
    descriptor = _try_acquire(folder, fcntl.LOCK_SH, _FOLDER)
    if descriptor is not None:
        os.set_inheritable(descriptor, True)  # noqa: FBT003
    return descriptor


@contextmanager
def exclusive(target: Path, *, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Let only one process of this machine create `target` at a time. The lock file is next to
    `target` and is removed with the lock. `on_wait` is called before waiting."""
    path = _beside(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    with lock(path, on_wait=on_wait):
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


@contextmanager
def try_exclusive(target: Path) -> Iterator[bool]:
    """`exclusive` without waiting; yields whether the lock was free."""
    path = _beside(target)
    with try_lock(path) as held:
        try:
            yield held
        finally:
            if held:
                path.unlink(missing_ok=True)


def is_exclusive(target: Path) -> bool:
    """Whether a process is in `exclusive` for `target`."""
    if not _beside(target).exists():
        return False
    with try_exclusive(target) as free:
        return not free


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name}.lock")


def is_locked(folder: Path) -> bool:
    """Whether a process holds the lock of `folder`."""
    if not folder.is_dir():
        return False
    with try_lock_folder(folder) as held:
        return not held


@contextmanager
def _closing(descriptor: int | None) -> Iterator[None]:
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _try_acquire(path: Path, kind: int, flags: int) -> int | None:
    with suppress(BlockingIOError, FileNotFoundError):
        return _acquire(path, kind | fcntl.LOCK_NB, flags)
    return None


def _acquire(path: Path, how: int, flags: int) -> int:
    """An open, locked descriptor of the inode that `path` names now."""
    while True:
        descriptor = os.open(path, flags, 0o600)
        try:
            fcntl.flock(descriptor, how)
            if _is_still(path, descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether `path` still names the open inode: it may be removed or replaced before the lock."""
    with suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    return False
