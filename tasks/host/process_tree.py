"""The process tree of a step: recorded in the build's folder, and killed by that record."""

from __future__ import annotations

import os
import select
import signal
from contextlib import suppress
from pathlib import Path

from tasks.host.files import make_folder

KEEPS_S = 20.0
"""How long `kill` waits for a tree that was killed."""


def record_tree(home: Path, pid: int) -> None:
    """Write down in `home` which process the running step's tree hangs on."""
    make_folder(home, mode=0o700)
    (home / "tree.pid").write_text(f"{pid} {_start_time(pid)}\n")


def kill_tree(home: Path) -> bool:
    """Kill the process tree that runs in `home` and wait for its end; False if there was none.

    The tree hangs on one process: with it goes the init of the step's PID namespace, and with
    that the kernel kills every process in it.
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
    """When the process was started, in clock ticks since boot, which with its number names it for
    good; empty where there is none. proc(5), /proc/pid/stat, field 22."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return ""
