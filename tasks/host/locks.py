"""Locks that the kernel ends with the process that holds them: flock(2) on a file or a folder.

The name that is locked can be removed by whoever holds the lock; a lock counts only if the name
still stands for what was locked.
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
    """Hold the lock of the file `path`, which is made if missing; waits for as long as somebody
    else holds it, and calls `on_wait` once before that."""
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
    """Lock the file `path`, which is made if missing, if that can be done within `limit_s`; gives
    whether it was."""
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    end = time.monotonic() + limit_s
    while (descriptor := _try_acquire(path, kind, _FILE)) is None and time.monotonic() < end:
        time.sleep(POLL_S)
    with _closing(descriptor):
        yield descriptor is not None


@contextmanager
def try_lock_folder(folder: Path) -> Iterator[bool]:
    """Lock `folder` itself; gives whether it was there and free."""
    descriptor = _try_acquire(folder, fcntl.LOCK_EX, _FOLDER)
    with _closing(descriptor):
        yield descriptor is not None


def hold_folder(folder: Path) -> int | None:
    """Share the lock of `folder`, if nobody has it alone: gives a descriptor, for programs that
    this process becomes or starts too. The lock ends with the last copy of it."""
    descriptor = _try_acquire(folder, fcntl.LOCK_SH, _FOLDER)
    if descriptor is not None:
        os.set_inheritable(descriptor, True)  # noqa: FBT003
    return descriptor


@contextmanager
def exclusive(target: Path, *, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Keep every other process of this machine that wants to make `target` out. The lock's file
    lies next to `target` and is removed with the lock. `on_wait` is called before waiting."""
    path = _beside(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    with lock(path, on_wait=on_wait):
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


@contextmanager
def try_exclusive(target: Path) -> Iterator[bool]:
    """`exclusive` if nobody else is in; gives whether that is so."""
    path = _beside(target)
    with try_lock(path) as held:
        try:
            yield held
        finally:
            if held:
                path.unlink(missing_ok=True)


def is_exclusive(target: Path) -> bool:
    """Whether somebody is in `exclusive` for `target`."""
    if not _beside(target).exists():
        return False
    with try_exclusive(target) as free:
        return not free


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name}.lock")


def is_locked(folder: Path) -> bool:
    """Whether somebody holds the lock of `folder`."""
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
    """The open and locked descriptor of what `path` names now."""
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
    """Whether what was opened was not removed, or replaced, before it was locked."""
    with suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    return False
