"""A step's control group: limits on its memory, its share of the processors and its processes where
they can be set, and whether the kernel killed one of these because memory was short.

Versions 1 (one hierarchy for each controller) and 2 are supported. In version 2 a group that has
processes cannot enable controllers for its children, so a step's group is a sibling of this
process's own group; systemd prepares that with `Delegate=yes` and `DelegateSubgroup=`. See
cgroups(7).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tasks.model import StepLimits

MOUNT = Path("/sys/fs/cgroup")
PREFIX = "stagefarm-step-"
REMOVE_S = 2.0
ENTER = 'n=$0; while [ $n -gt 0 ]; do echo $$ >"$1" || exit; shift; n=$((n-1)); done; exec "$@"'
DELEGATED = "trusted.delegate"
"""What systemd marks a group with that it leaves to a service. systemd.resource-control(5)."""


@dataclass(frozen=True, slots=True)
class Group:
    """The group of one step: one folder in each hierarchy where it could be made. `unmet` has the
    names of the limits that are not kept."""

    folders: tuple[Path, ...]
    unmet: tuple[str, ...]
    oom_counter: Path | None
    oom_kills: int

    @property
    def enter(self) -> tuple[str, ...]:
        """The prefix of a command that runs in the group."""
        files = [str(folder / "cgroup.procs") for folder in self.folders]
        return ("sh", "-c", ENTER, str(len(files)), *files) if files else ()

    def ran_out_of_memory(self) -> bool:
        """Whether the kernel has killed a process for lack of memory since the group was created.
        With version 1, and no limit of the step's own, it may be a process of another step."""
        return _oom_kills(self.oom_counter) > self.oom_kills


@contextmanager
def limited(limits: StepLimits) -> Iterator[Group]:
    """A group for one step, removed when the step ends."""
    name = f"{PREFIX}{os.getpid()}-{os.urandom(4).hex()}"
    folders: list[Path] = []
    unmet = []
    for controller, value in _wanted(limits).items():
        folder = _make(controller, name, value)
        if folder is None:
            unmet.append(controller)
        elif folder not in folders:
            folders.append(folder)
    counter = _oom_counter(folders)
    try:
        yield Group(tuple(folders), tuple(unmet), counter, _oom_kills(counter))
    finally:
        for folder in folders:
            _remove(folder)


@contextmanager
def place_for_init(group: Group) -> Iterator[str]:
    """The folder of an empty group of version 2, within `group` where that is one, for an init that
    makes groups of its own; removed with them. Empty where this machine has none to give."""
    parent = next((one for one in group.folders if _is_second(one)), _own_of_second())
    place = parent / f"{PREFIX}{os.getpid()}-{os.urandom(4).hex()}" if parent else None
    try:
        if place:
            place.mkdir()
    except OSError:
        place = None
    try:
        yield str(place or "")
    finally:
        if place:
            _remove(place)


def _is_second(folder: Path) -> bool:
    return (folder / "cgroup.subtree_control").is_file()


def _own_of_second() -> Path | None:
    """The folder of this process's own group of version 2, also beside hierarchies of version 1."""
    for controllers, path in _memberships():
        if not controllers:
            places = (MOUNT / path, MOUNT / "unified" / path)
            return next((place for place in places if _is_second(place)), None)
    return None


def _wanted(limits: StepLimits) -> dict[str, int]:
    found = {"pids": limits.pids, "memory": limits.memory_bytes, "cpu": limits.cpu_weight}
    return {controller: value for controller, value in found.items() if value}


def _make(controller: str, name: str, value: int) -> Path | None:
    """The folder of the group, with this limit; None where that cannot be set."""
    if (found := _base(controller)) is None:
        return None
    base, version = found
    group = base / name
    was_there = group.is_dir()
    try:
        group.mkdir(exist_ok=True)
        file, text = _setting(controller, version, value)
        (group / file).write_text(text)
    except OSError:
        if not was_there:
            with suppress(OSError):
                group.rmdir()
        return None
    return group


def _setting(controller: str, version: int, value: int) -> tuple[str, str]:
    """The file of a limit, and what to write to it. Weights of version 2 are 1 to 10,000 around
    100; shares of version 1 are 2 to 262,144 around 1,024."""
    if controller == "pids":
        return "pids.max", str(value)
    if version == 2:
        return {"memory": "memory.max", "cpu": "cpu.weight"}[controller], str(value)
    if controller == "memory":
        return "memory.limit_in_bytes", str(value)
    return "cpu.shares", str(max(2, value * 1024 // 100))


def _memberships() -> list[tuple[list[str], str]]:
    """The controllers and the path of each hierarchy that this process is in. Those of version 2
    are not named."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    parts = [line.split(":", 2) for line in lines]
    return [(names.split(",") if names else [], path.lstrip("/")) for _, names, path in parts]


def _base(controller: str) -> tuple[Path, int] | None:
    """The folder below which groups with `controller` can be created, and its version."""
    for controllers, path in _memberships():
        if controller in controllers:
            return MOUNT / controller / path, 1
        if not controllers:
            own = MOUNT / path
            for base in (own.parent, own):
                if _has(base, controller):
                    return base, 2
    return None


def _has(base: Path, controller: str) -> bool:
    """Whether children of the group `base` have `controller`; enabled in one that is left to us."""
    control = base / "cgroup.subtree_control"
    with suppress(OSError):
        if controller in control.read_text().split():
            return True
        os.getxattr(base, DELEGATED)
        control.write_text(f"+{controller}")
        return True
    return False


def _oom_counter(folders: list[Path]) -> Path | None:
    """The file that counts the out-of-memory kills in the group, or else in this process's own."""
    names = ("memory.events", "memory.oom_control")
    places = [folder / name for folder in folders for name in names]
    places += [folder.parent / "memory.events" for folder in folders]
    for controllers, path in _memberships():
        if "memory" in controllers:
            places += [MOUNT / "memory" / path / "memory.oom_control"]
        elif not controllers:
            places += [MOUNT / path / "memory.events"]
    return next((place for place in places if place.is_file()), None)


def _oom_kills(counter: Path | None) -> int:
    """The line `oom_kill N` of `memory.events` (version 2) or `memory.oom_control` (version 1)."""
    with suppress(OSError):
        for line in counter.read_text().splitlines() if counter else ():
            name, _, number = line.partition(" ")
            if name == "oom_kill":
                return int(number)
    return 0


def _remove(group: Path) -> None:
    """Remove `group` once its last process has exited, and groups whose creator has exited."""
    pause = threading.Event()
    end = time.monotonic() + REMOVE_S
    while time.monotonic() < end:
        with suppress(OSError):
            _remove_all(group)
            break
        pause.wait(0.01)
    for other in group.parent.glob(f"{PREFIX}*"):
        creator = other.name.removeprefix(PREFIX).partition("-")[0]
        if not Path("/proc", creator).exists():
            with suppress(OSError):
                _remove_all(other)


def _remove_all(group: Path) -> None:
    """Remove `group` and the groups in it; an `OSError` where a process is left."""
    for folder, _, _ in os.walk(group, topdown=False):
        Path(folder).rmdir()
