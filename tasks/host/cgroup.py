"""A limit on the number of processes of a step, where control groups allow one.

Version 1 (the `pids` hierarchy) and version 2 are known. In version 2 a group with processes of its
own cannot give controllers to groups below it, so a step's group is made beside this process's
own; systemd prepares that with `Delegate=yes` and `DelegateSubgroup=`. See cgroups(7).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MOUNT = Path("/sys/fs/cgroup")
PREFIX = "stagefarm-step-"
REMOVE_S = 2.0
ENTER = 'echo $$ >"$0" && exec "$@"'


@contextmanager
def limited(pids_max: int) -> Iterator[tuple[str, ...]]:
    """A group for one step: gives the words to put before a command so that it runs there, none
    where no group can be made. The group goes with the step."""
    group = _make(pids_max)
    try:
        yield ("sh", "-c", ENTER, str(group / "cgroup.procs")) if group else ()
    finally:
        if group:
            _remove(group)


def _make(pids_max: int) -> Path | None:
    if (base := _base()) is None:
        return None
    group = base / f"{PREFIX}{os.getpid()}-{os.urandom(4).hex()}"
    try:
        group.mkdir()
        (group / "pids.max").write_text(str(pids_max))
    except OSError:
        with suppress(OSError):
            group.rmdir()
        return None
    return group


def _base() -> Path | None:
    """The folder below which groups with a limit on processes can be made."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "pids" in controllers.split(","):
            return MOUNT / "pids" / path.lstrip("/")
        if not controllers:
            beside = MOUNT / path.lstrip("/")
            for base in (beside.parent, beside):
                with suppress(OSError):
                    if "pids" in (base / "cgroup.subtree_control").read_text().split():
                        return base
    return None


def _remove(group: Path) -> None:
    """Remove `group` once its last process is gone, and those whose makers are gone."""
    pause = threading.Event()
    end = time.monotonic() + REMOVE_S
    while time.monotonic() < end:
        with suppress(OSError):
            group.rmdir()
            break
        pause.wait(0.01)
    for other in group.parent.glob(f"{PREFIX}*"):
        maker = other.name.removeprefix(PREFIX).partition("-")[0]
        if not Path("/proc", maker).exists():
            with suppress(OSError):
                other.rmdir()
