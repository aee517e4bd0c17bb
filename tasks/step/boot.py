"""Boots a stage in a container: its init is the first process, in a user namespace of its own, with
control groups of its own, without a network, and sees nothing of the host.

systemd says by the protocol of sd_notify(3) when it has reached its default target. OpenRC leaves a
file once it has reached its runlevel. Other inits tell nobody, and are not booted.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tasks.artifacts.gate_tests import Outcome
from tasks.container.container import Contained, Enter, Init, machine
from tasks.errors import HostUnfit, TimedOut
from tasks.host import syscalls
from tasks.host.chroot_paths import inside, make_folder
from tasks.host.process import STANDARD_PATH
from tasks.host.syscalls import MS_NODEV, MS_NOSUID
from tasks.step.stage import Packed, Stage

LIMIT_S = 120.0
LOOK_EVERY_S = 0.25
ASK_LIMIT_S = 10.0
PROGRAM = "/sbin/init"
NOTIFY = Path("/run/host/notify")
MESSAGE_MAX_BYTES = 4096
LISTED_MAX = 8
OPENRC_IS_READY = "test ! -e /run/openrc/rc.starting && grep -qsx default /run/openrc/softlevel"


@dataclass(frozen=True, slots=True)
class Booting:
    """A stage that boots: the way in, a descriptor of its init, and where that notifies us."""

    enter: Enter
    init: int
    channel: socket.socket


def inapplicable(stage: Packed) -> str:
    """Why the stage cannot be booted; empty if it can."""
    if not stage.has_file(PROGRAM):
        return "the stage has no init"
    if not _has_systemd(stage) and not stage.has("rc-status"):
        return "the stage's init is neither systemd nor OpenRC's"
    return ""


def _has_systemd(stage: Packed) -> bool:
    return inside(stage.root, PROGRAM).name == "systemd"


def init_in(group: str) -> Init:
    """How the init is started; `HostUnfit` where this host has no control group for it."""
    if not group:
        raise HostUnfit("this host has no control group of version 2 to give to a stage")
    environment = {"container": "stagefarm", "NOTIFY_SOCKET": str(NOTIFY), "PATH": STANDARD_PATH}
    return Init(argv=(PROGRAM,), environment=environment, group=Path(group))


@contextmanager
def booting(wanted: Contained) -> Iterator[Booting]:
    """Boot the root filesystem as long as the body runs. Nothing may run in it before."""
    with _notifications(wanted.rootfs) as channel, machine(wanted) as (enter, init):
        yield Booting(enter, init, channel)


@contextmanager
def _notifications(root: Path) -> Iterator[socket.socket]:
    """The socket at NOTIFY, in a /run in memory, as a machine has one."""
    syscalls.mount("run", make_folder(root, "/run"), "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755")
    folder = os.open(make_folder(root, str(NOTIFY.parent)), os.O_PATH | os.O_DIRECTORY)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        try:
            channel.bind(f"/proc/self/fd/{folder}/{NOTIFY.name}")  # its own path may be too long
        finally:
            os.close(folder)
        yield channel


def wait(stage: Stage, machine: Booting, limit_s: float = LIMIT_S) -> tuple[Outcome, str]:
    """Wait until the stage has booted; says whether it has, and what failed in it."""
    is_up = _systemd_is_up if _has_systemd(stage) else _openrc_is_up
    end = time.monotonic() + limit_s
    while not is_up(stage, machine):
        if select.select([machine.init], [], [], 0)[0]:
            return Outcome.FAILED, "its init exited"
        if time.monotonic() > end:
            return Outcome.FAILED, f"it did not boot within {limit_s:g} s{_waits_for(stage)}"
    if _has_systemd(stage) and stage.has("systemctl"):
        return _reached(stage)
    return Outcome.PASSED, ""


def _systemd_is_up(_: Stage, machine: Booting) -> bool:
    channel = machine.channel.fileno()
    if channel not in select.select([channel, machine.init], [], [], LOOK_EVERY_S)[0]:
        return False
    return b"READY=1" in machine.channel.recv(MESSAGE_MAX_BYTES).splitlines()


def _openrc_is_up(stage: Stage, machine: Booting) -> bool:
    select.select([machine.init], [], [], LOOK_EVERY_S)
    return not _ask(stage, "sh", "-c", OPENRC_IS_READY)[0]


def _reached(stage: Stage) -> tuple[Outcome, str]:
    """systemd is ready as well once it has given its default target up."""
    code, _ = _ask(stage, "systemctl", "is-active", "default.target")
    _, units = _ask(stage, "systemctl", "--failed", "--plain", "--no-legend")
    failed = ", ".join(line.split()[0] for line in units[:LISTED_MAX] if line.split())
    told = f"failed units: {failed}" if failed else ""
    if code:
        return Outcome.FAILED, f"it did not reach its default target; {told}".removesuffix("; ")
    return Outcome.PASSED, told


def _waits_for(stage: Stage) -> str:
    """The jobs that run, or the services that crashed, as the stage's own tools list them."""
    if _has_systemd(stage) and stage.has("systemctl"):
        _, lines = _ask(stage, "systemctl", "list-jobs", "--plain", "--no-legend")
        jobs = (" ".join(line.split()[1:]) for line in lines[:LISTED_MAX])
        return f": jobs: {'; '.join(jobs)}"
    if stage.has("rc-status"):
        _, lines = _ask(stage, "rc-status", "--nocolor", "--crashed")
        return f": crashed: {' '.join(lines[:LISTED_MAX])}"
    return ""


def _ask(stage: Stage, *argv: str) -> tuple[int, tuple[str, ...]]:
    """The exit code and the output of a program of the stage; nothing where it does not answer."""
    with suppress(TimedOut, HostUnfit):
        ran = stage.run(*argv, timeout_s=ASK_LIMIT_S)
        return ran.code, ran.printed
    return 1, ()
