"""The process tree of a step: recorded in the build's folder, and killed by that record."""

from __future__ import annotations

import os
import select
import signal
from contextlib import suppress
from pathlib import Path

from tasks.host.files import make_folder

KEEPS_S = 20.0
"""How long `kill_tree` waits for a killed tree to exit."""


def record_tree(home: Path, pid: int) -> None:
    """Record in `home` the root process of the running step's tree."""
    make_folder(home, mode=0o700)
    (home / "tree.pid").write_text(f"{pid} {_start_time(pid)}\n")


def kill_tree(home: Path) -> bool:
    """Kill the process tree recorded in `home` and wait for its exit; False if there was none.

    Killing the root process is enough: the init of the step's PID namespace dies with it, and
    then the kernel kills all other processes of the namespace.
    """
    pid, started = _recorded(home)
    if not pid or _start_time(pid) != started:
        return False
    with suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        try:
            if _start_time(pid) == started:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                _wait(descriptor)
        finally:
            os.close(descriptor)
    return True


def _wait(descriptor: int) -> None:
    select.select([descriptor], [], [], KEEPS_S)


def _recorded(home: Path) -> tuple[int, str]:
    with suppress(OSError, ValueError):
        pid, started = (home / "tree.pid").read_text().split()
        return int(pid), started
    return 0, ""


def _start_time(pid: int) -> str:
    """When the process was started, in clock ticks since boot: with its pid a unique name; empty if
    there is no such process. proc(5), /proc/pid/stat, field 22."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return ""
