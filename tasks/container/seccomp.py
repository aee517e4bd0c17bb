"""Which system calls programs in a container may make: a filter made with libseccomp.

A list of what is refused: calls that no build needs and that reach the kernel beyond namespaces and
capabilities. Most would fail for lack of a capability too; a filter also closes those that need
none, and keeps code of the kernel that is attacked most out of reach.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from tasks.errors import HostUnfit
from tasks.host import syscalls
from tasks.model import Privileges

REFUSED = (
    *("init_module", "finit_module", "delete_module", "create_module", "query_module"),
    *("kexec_load", "kexec_file_load", "reboot", "swapon", "swapoff"),
    *("settimeofday", "stime", "clock_settime", "clock_settime64", "clock_adjtime"),
    *("clock_adjtime64", "iopl", "ioperm", "acct", "quotactl", "quotactl_fd", "syslog"),
    *("add_key", "request_key", "keyctl", "bpf", "perf_event_open", "userfaultfd"),
    *("io_uring_setup", "io_uring_enter", "io_uring_register", "open_by_handle_at"),
    *("fanotify_init", "lookup_dcookie", "nfsservctl", "vhangup", "uselib", "_sysctl"),
)
MOUNTING = (
    *("mount", "umount", "umount2", "pivot_root", "setns", "open_tree", "move_mount", "fsopen"),
    *("fsconfig", "fsmount", "fspick", "mount_setattr"),
)
NEW_NAMESPACES = (
    *(syscalls.CLONE_NEWNS, syscalls.CLONE_NEWCGROUP, syscalls.CLONE_NEWUTS),
    *(syscalls.CLONE_NEWIPC, syscalls.CLONE_NEWUSER, syscalls.CLONE_NEWPID),
    syscalls.CLONE_NEWNET,
)
TERMINAL_INPUT = (0x5412, 0x541C)
"""TIOCSTI types on the terminal that `enter` gives a shell; TIOCLINUX pastes on a console."""

AF_VSOCK = 40
"""Sockets to the hypervisor, which no network namespace has a part in."""

UNKNOWN = -1
NARROW = {"x86_64": "X86", "aarch64": "ARM"}
"""The 32-bit architecture whose programs the same kernel runs."""


@lru_cache
def program(privileges: Privileges) -> bytes:
    """The filter as BPF, compiled once in a process: to find the library takes 0.1 s."""
    library = _library()
    found = library.SyscallFilter(library.ALLOW)
    found.set_attr(library.Attr.CTL_NNP, 0)
    found.set_attr(library.Attr.ACT_BADARCH, library.ERRNO(errno.ENOSYS))
    if narrow := NARROW.get(os.uname().machine):
        found.add_arch(getattr(library.Arch, narrow))
    _refuse(library, found, REFUSED)
    for request in TERMINAL_INPUT:
        _refuse_where(library, found, "ioctl", 1, 0xFFFFFFFF, request)
    _refuse_where(library, found, "socket", 0, 0xFFFFFFFF, AF_VSOCK)
    if privileges is Privileges.CONTAINED:
        _refuse(library, found, MOUNTING)
        _refuse_namespaces(library, found)
    return _compiled(found)


def _refuse(library: Any, found: Any, names: Iterable[str]) -> None:
    """Refuse the calls of these `names`, but for those that this version of the library does not
    know."""
    for name in names:
        number = library.resolve_syscall(library.Arch.NATIVE, name)
        if number != UNKNOWN:
            found.add_rule(library.ERRNO(errno.EPERM), number)


def _refuse_where(
    library: Any, found: Any, name: str, argument: int, mask: int, value: int
) -> None:
    """Refuse `name` where its argument has `value` in the bits of `mask`."""
    where = library.Arg(argument, library.MASKED_EQ, mask, value)
    found.add_rule(library.ERRNO(errno.EPERM), name, where)


def _refuse_namespaces(library: Any, found: Any) -> None:
    """The flags of clone3 are in memory, where no filter sees them: told that there is none, libc
    takes clone."""
    for flag in NEW_NAMESPACES:
        for name in ("unshare", "clone"):
            _refuse_where(library, found, name, 0, flag, flag)
    _refuse_where(library, found, "unshare", 0, syscalls.CLONE_NEWTIME, syscalls.CLONE_NEWTIME)
    found.add_rule(library.ERRNO(errno.ENOSYS), "clone3")


def _compiled(found: Any) -> bytes:
    with os.fdopen(os.memfd_create("seccomp"), "w+b", buffering=0) as file:
        found.export_bpf(file)
        file.seek(0)
        return file.read()


def _library() -> Any:
    """pyseccomp raises `RuntimeError` on import where libseccomp is missing."""
    try:
        import pyseccomp
    except RuntimeError as error:
        raise HostUnfit(
            "containing a seed's programs needs libseccomp, which is not installed",
            "install libseccomp2 (Debian) or sys-libs/libseccomp (Gentoo)",
        ) from error
    return pyseccomp
