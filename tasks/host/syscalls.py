"""System calls that Python 3.11 has no function for, as thin wrappers around libc.

Each raises `OSError` with the call's error. Constants are those of the kernel's headers; numbers of
calls since Linux 5.1 are the same on every architecture.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

CLONE_NEWTIME = 0x80
CLONE_NEWNS = 0x20000
CLONE_NEWCGROUP = 0x2000000
CLONE_NEWUTS = 0x4000000
CLONE_NEWIPC = 0x8000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC = 32, 4096, 16384
MNT_DETACH = 2

PER_LINUX32 = 8
PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP = 4, 22, 24
SECCOMP_MODE_FILTER = 2

_MOUNT_SETATTR = 442
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_CAPABILITY_VERSION_3 = 0x20080522
_INSTRUCTION_BYTES = 8

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, *names: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), *names)


def mount(source: str, target: Path, kind: str, flags: int, options: str = "") -> None:
    """mount(2); the error names `target`."""
    words = (os.fsencode(text) for text in (source, target, kind))
    _check(_libc.mount(*words, ctypes.c_ulong(flags), options.encode()), str(target))


def bind(source: Path, target: Path, flags: int = 0) -> None:
    """Show `source` at `target`; with `flags`, such as MS_NODEV, as the options of that mount."""
    mount(str(source), target, "", MS_BIND)
    if flags:
        remount(target, flags)


def remount(target: Path, flags: int) -> None:
    """Replace the options of the one mount at `target` by `flags`."""
    mount("", target, "", MS_REMOUNT | MS_BIND | flags)


class _MountAttributes(ctypes.Structure):
    """struct mount_attr of mount_setattr(2)."""

    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "userns")]


def restrict_mounts(target: Path, flags: int) -> None:
    """Add `flags` of MS_RDONLY to MS_NOEXEC to the mount at `target` and to all below it."""
    wanted = _MountAttributes(set=flags)
    _check(
        _libc.syscall(
            _MOUNT_SETATTR,
            _AT_FDCWD,
            os.fsencode(target),
            _AT_RECURSIVE,
            ctypes.byref(wanted),
            ctypes.sizeof(wanted),
        ),
        str(target),
    )


def pivot_root(folder: Path) -> None:
    """Make the mount at `folder` the root of this mount namespace, and detach the old one with all
    that is mounted in it. pivot_root(2), `pivot_root(".", ".")`."""
    os.chdir(folder)
    _check(_libc.pivot_root(b".", b"."), str(folder))
    _check(_libc.umount2(b".", MNT_DETACH), str(folder))
    os.chdir("/")


def unshare(namespaces: int) -> None:
    """Move this process to new namespaces, and for CLONE_NEWPID its future children. unshare(2)."""
    _check(_libc.unshare(namespaces))


def join(descriptor: int, namespaces: int) -> None:
    """Move this process into namespaces of the process, or into that of the file, that `descriptor`
    stands for. setns(2)."""
    _check(_libc.setns(descriptor, namespaces))


def prctl(option: int, *arguments: int) -> None:
    padded = [ctypes.c_ulong(number) for number in (*arguments, 0, 0, 0, 0)[:4]]
    _check(_libc.prctl(option, *padded))


def close_to_others() -> None:
    """Keep every process but a privileged one of the host from this process's /proc: its program,
    memory and descriptors. Ends with exec. PR_SET_DUMPABLE(2const)."""
    prctl(PR_SET_DUMPABLE, 0)


def personality(persona: int) -> None:
    _check(_libc.personality(ctypes.c_ulong(persona)))


class _CapabilityHeader(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


def set_capabilities(permitted: int) -> None:
    """Make `permitted`, one bit for each, this process's permitted and effective capabilities;
    none is inheritable. capset(2)."""
    header = _CapabilityHeader(_CAPABILITY_VERSION_3, 0)
    low, high = permitted & 0xFFFFFFFF, permitted >> 32
    data = (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0)
    _check(_libc.capset(ctypes.byref(header), data))


class _FilterProgram(ctypes.Structure):
    """struct sock_fprog of seccomp(2)."""

    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def filter_system_calls(program: bytes) -> None:
    """Install the BPF `program` for this process and those it starts, for good. Needs
    CAP_SYS_ADMIN: without it setuid programs would have to lose their meaning."""
    found = _FilterProgram(len(program) // _INSTRUCTION_BYTES, program)
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(found))
