"""The mounts below a folder, and a view of the folder without them."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.errors import HostUnfit

_OPEN_TREE = 428  # one number on every architecture, as all system calls since Linux 5.1
_OPEN_TREE_CLONE = 1
_OPEN_TREE_CLOEXEC = os.O_CLOEXEC
_AT_FDCWD = -100

_libc = ctypes.CDLL(None, use_errno=True)


def below(folder: Path) -> list[Path]:
    """The mount points below `folder` in this mount namespace, not `folder` itself."""
    root = folder.resolve()
    return [point for point in mounted_at_or_below(folder) if point != root]


def mounted_at_or_below(path: Path) -> list[Path]:
    """The mount points at `path`, which is not followed if it is a link, and below."""
    root = path.parent.resolve() / path.name if path.is_symlink() else path.resolve()
    return [point for point in _mount_points() if point.is_relative_to(root)]


def _mount_points() -> Iterator[Path]:
    """The fifth field of each line of mountinfo, with its octal escapes decoded (proc(5))."""
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        point = re.sub(rb"\\([0-7]{3})", lambda m: bytes([int(m[1], 8)]), line.split(b" ")[4])
        yield Path(os.fsdecode(point))


@contextmanager
def without_mounts(folder: Path) -> Iterator[Path]:
    """A path that shows `folder` without anything that is mounted below it.

    It is a detached copy of the one mount (open_tree(2)): files that were mounted over are
    visible, and nothing needs cleaning up when the process dies.
    """
    if not below(folder):
        yield folder
        return
    fd = _open_tree(folder)
    try:
        yield Path(f"/proc/{os.getpid()}/fd/{fd}")
    finally:
        os.close(fd)


def _open_tree(folder: Path) -> int:
    fd: int = _libc.syscall(
        _OPEN_TREE, _AT_FDCWD, os.fsencode(folder), _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC
    )
    if fd < 0:
        problem = os.strerror(ctypes.get_errno())
        names = ", ".join(str(point) for point in below(folder)[:3])
        raise HostUnfit(
            f"cannot look at {folder} without what is mounted in it ({names}): {problem}",
            "unmount it first; packing below mounts needs root and Linux 5.2",
        )
    return fd
