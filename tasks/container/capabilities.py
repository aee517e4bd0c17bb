"""What root may do in a container: the capabilities that it keeps. capabilities(7).

They are those that Docker leaves to a container, without CAP_NET_RAW, which reads what others send.
Package managers need no more: they set owners, modes and file capabilities, make device nodes,
change users and enter chroots.
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
    FOWNER = 3
    FSETID = 4
    KILL = 5
    SETGID = 6
    SETUID = 7
    SETPCAP = 8
    NET_BIND_SERVICE = 10
    SYS_CHROOT = 18
    MKNOD = 27
    AUDIT_WRITE = 29
    SETFCAP = 31


KEPT = frozenset(Capability)


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
