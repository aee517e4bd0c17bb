"""A step's control group: a limit on its processes where one can be set, and whether the kernel
killed one of them because memory was short.

Versions 1 (the `pids` hierarchy) and 2 are supported. In version 2 a group that has processes
cannot enable controllers for its children, so a step's group is a sibling of this process's own
group; systemd prepares that with `Delegate=yes` and `DelegateSubgroup=`. See cgroups(7).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

MOUNT = Path("/sys/fs/cgroup")
PREFIX = "stagefarm-step-"
REMOVE_S = 2.0
ENTER = 'echo $$ >"$0" && exec "$@"'


@dataclass(frozen=True, slots=True)
class Group:
    """The group of one step; `folder` is None where none can be created."""

    folder: Path | None
    oom_counter: Path | None
    oom_kills: int

    @property
    def enter(self) -> tuple[str, ...]:
        """The prefix of a command that runs in the group."""
        return ("sh", "-c", ENTER, str(self.folder / "cgroup.procs")) if self.folder else ()

    def ran_out_of_memory(self) -> bool:
        """Whether the kernel has killed a process for lack of memory since the group was created.
        With version 1 it may be a process of another step of this worker."""
        return _oom_kills(self.oom_counter) > self.oom_kills


@contextmanager
def limited(pids_max: int) -> Iterator[Group]:
    """A group for one step, removed when the step ends."""
    folder = _make(pids_max)
    counter = _oom_counter(folder)
    group = Group(folder, counter, _oom_kills(counter))
    try:
        yield group
    finally:
        if group.folder:
            _remove(group.folder)


def _oom_counter(folder: Path | None) -> Path | None:
    """The file that counts the out-of-memory kills in the group `folder`, or else in this
    process's own group."""
    places = [place / "memory.events" for place in (folder, folder.parent)] if folder else []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            places += [MOUNT / "memory" / path.lstrip("/") / "memory.oom_control"]
        elif not controllers:
            places += [MOUNT / path.lstrip("/") / "memory.events"]
    return next((place for place in places if place.is_file()), None)


def _oom_kills(counter: Path | None) -> int:
    """The line `oom_kill N` of `memory.events` (version 2) or `memory.oom_control` (version 1)."""
    with suppress(OSError):
        for line in counter.read_text().splitlines() if counter else ():
            name, _, number = line.partition(" ")
            if name == "oom_kill":
                return int(number)
    return 0


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
    """The folder below which groups with a limit on processes can be created."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "pids" in controllers.split(","):
            return MOUNT / "pids" / path.lstrip("/")
        if not controllers:
            own = MOUNT / path.lstrip("/")
            for base in (own.parent, own):
                with suppress(OSError):
                    if "pids" in (base / "cgroup.subtree_control").read_text().split():
                        return base
    return None


def _remove(group: Path) -> None:
    """Remove `group` once its last process has exited, and groups whose creator has exited."""
    pause = threading.Event()
    end = time.monotonic() + REMOVE_S
    while time.monotonic() < end:
        with suppress(OSError):
            group.rmdir()
            break
        pause.wait(0.01)
    for other in group.parent.glob(f"{PREFIX}*"):
        creator = other.name.removeprefix(PREFIX).partition("-")[0]
        if not Path("/proc", creator).exists():
            with suppress(OSError):
                other.rmdir()
