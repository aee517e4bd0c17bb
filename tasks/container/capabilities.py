"""What root may do in a container: the capabilities that it keeps. capabilities(7).

They are those that Docker leaves to a container, without CAP_NET_RAW, which reads what others send.
Package managers need no more: they set owners, modes and file capabilities, make device nodes,
change users and enter chroots. The init of a stage that is booted keeps those that systemd-nspawn
leaves to it, which hold for its user namespace only.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import IntEnum

from tasks.host import syscalls

LAST = 63


class Capability(IntEnum):
    """The numbers of the kernel's `linux/capability.h`."""

    CHOWN = 0
    DAC_OVERRIDE = 1
    DAC_READ_SEARCH = 2
    FOWNER = 3
    FSETID = 4
    KILL = 5
    SETGID = 6
    SETUID = 7
    SETPCAP = 8
    LINUX_IMMUTABLE = 9
    NET_BIND_SERVICE = 10
    NET_BROADCAST = 11
    NET_ADMIN = 12
    NET_RAW = 13
    IPC_OWNER = 15
    SYS_CHROOT = 18
    SYS_PTRACE = 19
    SYS_ADMIN = 21
    SYS_BOOT = 22
    SYS_NICE = 23
    SYS_RESOURCE = 24
    SYS_TTY_CONFIG = 26
    MKNOD = 27
    LEASE = 28
    AUDIT_WRITE = 29
    AUDIT_CONTROL = 30
    SETFCAP = 31


KEPT_BY_INIT = frozenset(Capability)
KEPT = frozenset(
    (
        *(Capability.CHOWN, Capability.DAC_OVERRIDE, Capability.FOWNER, Capability.FSETID),
        *(Capability.KILL, Capability.SETGID, Capability.SETUID, Capability.SETPCAP),
        *(Capability.NET_BIND_SERVICE, Capability.SYS_CHROOT, Capability.MKNOD),
        *(Capability.AUDIT_WRITE, Capability.SETFCAP),
    )
)


def keep_only(kept: Collection[Capability] = KEPT) -> None:
    """Leave this process, and whatever it starts, no capabilities but `kept`: those that a program
    gains by being root, setuid or by its file's capabilities are bounded too."""
    for number in range(LAST + 1):
        if number not in kept and not _drop(number):
            break
    syscalls.set_capabilities(sum(1 << capability for capability in kept))


def _drop(number: int) -> bool:
    """False where this kernel has no such capability, and none above it."""
    try:
        syscalls.prctl(syscalls.PR_CAPBSET_DROP, number)
    except OSError as error:
        if error.errno == 22:  # EINVAL
            return False
        raise
    return True
