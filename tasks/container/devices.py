"""The /dev of a root filesystem: a few devices of its own, and nothing of the host's."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from tasks.host import syscalls
from tasks.host.syscalls import MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY

DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}


def mount_devices(dev: Path, *, only_these: bool) -> None:
    """Mount a /dev at the folder `dev`. With `only_these` no other device opens there, whichever
    nodes are made: each of these is a mount of its own, and the rest is `nodev`."""
    syscalls.mount("dev", dev, "tmpfs", MS_NOSUID, "mode=0755,size=4m")
    for name in DEVICES:
        _make_device(Path("/dev", name), dev / name, as_mount=only_these)
    if only_these:
        syscalls.remount(dev, MS_NOSUID | MS_NOEXEC | MS_NODEV)
    for name, target in LINKS.items():
        (dev / name).symlink_to(target)
    _mount_terminals(dev / "pts")
    (dev / "shm").mkdir()
    syscalls.mount("shm", dev / "shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")


def _make_device(host: Path, device: Path, *, as_mount: bool) -> None:
    """A node of its own, whose mode and owner a hook may change without changing the host's. In a
    user namespace nobody may make one: there the host's is shown, and as far as the kernel lets
    us, cannot be changed. Writing to a device is no change of it."""
    try:
        os.mknod(device, stat.S_IFCHR, host.stat().st_rdev)
    except PermissionError:
        device.touch()
        syscalls.bind(host, device)
        with suppress(OSError):
            syscalls.remount(device, MS_RDONLY | MS_NOSUID | MS_NOEXEC)
    else:
        device.chmod(0o666)
        if as_mount:
            syscalls.bind(device, device)


def _mount_terminals(pts: Path) -> None:
    """A devpts of its own. Group 5 is `tty` everywhere; in a user namespace it may not exist."""
    pts.mkdir()
    flags, options = MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620"
    try:
        syscalls.mount("devpts", pts, "devpts", flags, f"{options},gid=5")
    except OSError:
        syscalls.mount("devpts", pts, "devpts", flags, options)
