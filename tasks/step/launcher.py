"""The host's side of a step: a process tree in namespaces of its own, and its messages.

A step runs as `python -m tasks.step.main`: the init of a PID namespace, in a mount namespace from
which nothing propagates. It takes an `Assignment` on its standard input and writes one `Message`
a line on its standard output. It dies with its parent, and all that it started dies with it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

from tasks.container import network, seccomp
from tasks.errors import BuildFailed, HostUnfit, StepKilled, TimedOut
from tasks.host import cgroup
from tasks.host.binfmt import require_handler_for, runnable
from tasks.host.process import GRACE_S, Limits, run, standard_environment
from tasks.host.process_tree import record_tree
from tasks.model import Build, Network, Privileges, Step, StepLimits, decode, encode
from tasks.reporting import Line, Report, Stream
from tasks.results import StepResult
from tasks.rootfs.chroot import HostFacts
from tasks.rootfs.workspace import Workspace
from tasks.settings import DEFAULTS, Settings
from tasks.step.protocol import Assignment, Failure, Message, Restore

NAMESPACES = (
    "setpriv", "--pdeathsig", "KILL", "--",
    "unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child",
    "--mount-proc", "--",
)  # fmt: skip
SAID_MAX_LINES = 20
FATAL_SIGNAL = 128
"""A process ends with this plus the number of the signal that ended what it waited for."""


def perform(
    build: Build,
    step: int,
    workspace: Workspace,
    report: Report,
    *,
    settings: Settings = DEFAULTS,
    timeout_s: float = 0.0,
    keep_in: str = "",
    restore: Restore | None = None,
) -> StepResult:
    """Run step number `step` of `build` to its end and return its result; raises what it raised,
    `TimedOut` after `timeout_s`, what is left of the build's time limit (0: there is none),
    `StepKilled` where its process was killed, and `HostUnfit` where that could not be started.
    The caller holds the workspace's lock. `keep_in` and `restore`: see `Assignment`."""
    require_fit(build)
    relay = _Relay(report)
    assignment = Assignment(
        build=build,
        step=step,
        workspace=workspace,
        idle_limit_s=settings.idle_limit_s,
        host=facts(build, build.steps[step], settings.redis_url),
        keep_in=keep_in,
        restore=restore,
    )
    limits = _within(build.limits, settings)
    with (
        cgroup.limited(limits) as group,
        _place_for_init(group, build.steps[step]) as place,
        _naming_the_limit(build),
    ):
        if unkept := [name for name in group.unmet if name in _named(build.limits)]:
            report.line(Line(text=f"this host cannot limit {', '.join(unkept)}"))
        code = run(
            [*group.enter, *NAMESPACES, sys.executable, "-P", "-m", "tasks.step.main"],
            on_line=relay.take,
            env=standard_environment(),
            cwd="/",
            stdin=encode(replace(assignment, host=replace(assignment.host, group_of_init=place))),
            limits=Limits(timeout_s=timeout_s),
            grace_s=3 * GRACE_S,
            on_start=partial(record_tree, Path(workspace.home)),
        )
        out_of_memory = group.ran_out_of_memory()
    return relay.outcome(build.steps[step].title, code, out_of_memory=out_of_memory)


def _place_for_init(group: cgroup.Group, step: Step) -> AbstractContextManager[str]:
    return cgroup.place_for_init(group) if step.boot else nullcontext("")


def _within(limits: StepLimits, settings: Settings) -> StepLimits:
    """The job's limits; it cannot have more processes than the host allows."""
    return replace(limits, pids=min(limits.pids or settings.pids_max, settings.pids_max))


def _named(limits: StepLimits) -> tuple[str, ...]:
    """The controllers of the limits that the job sets."""
    wanted = {"memory": limits.memory_bytes, "cpu": limits.cpu_weight, "pids": limits.pids}
    return tuple(name for name, value in wanted.items() if value)


@contextmanager
def _naming_the_limit(build: Build) -> Iterator[None]:
    """Report the limit that was set, not what was left of it in this step."""
    try:
        yield
    except TimedOut as error:
        limit = f"its time limit of {build.timeout_s:g} s"
        raise TimedOut(f"the build took longer than {limit}") from error


def facts(build: Build, step: Step, redis_url: str) -> HostFacts:
    """What `step` has to know of this host; `HostUnfit` where that lacks something."""
    wanted = build.privileges_of(step)
    if not build.runs_seed_in(step) or wanted is Privileges.HOST:
        return HostFacts(machines=runnable())
    network.require(step.network)
    kinds = (wanted, Privileges.SANDBOX) if step.boot else (wanted,)
    return HostFacts(
        machines=runnable(),
        filters={kind: seccomp.program(kind) for kind in kinds},
        keep_from=network.addresses_of(redis_url) if step.network is Network.ISOLATED else (),
    )


def require_fit(build: Build) -> None:
    """`HostUnfit` where this machine or user cannot build `build`, before anything is done."""
    require_root()
    if any(step.is_inner for step in build.steps):
        require_handler_for(build.arch)
    for step in build.steps:
        facts(build, step, redis_url="")


def require_root() -> None:
    """`HostUnfit` for an ordinary user, with the way out."""
    if os.geteuid():
        raise HostUnfit(
            "building needs root: it mounts, enters root filesystems and keeps owners",
            "run it with sudo, or in a user namespace: unshare --map-root-user stagefarm ...",
        )


class _Relay:
    """Forwards the messages of the step's process, and records how it ended."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._said: list[str] = []
        self._started = False
        self._result: StepResult | None = None
        self._failure: Failure | None = None

    def take(self, line: str, stream: Stream) -> None:
        if stream is Stream.STDERR:
            self._said = [*self._said[1 - SAID_MAX_LINES :], line]
            return
        message = decode(line, Message)
        self._started = True
        if message.line:
            self._report.line(message.line)
        if message.progress:
            self._report.progress(message.progress)
        self._result = message.result or self._result
        self._failure = message.failure or self._failure

    def outcome(self, title: str, code: int, *, out_of_memory: bool) -> StepResult:
        """The result of the step `title`, whose process exited with `code`; raises why there is
        none."""
        if self._result and not code:
            return self._result
        memory = ": out of memory, the kernel killed a process" if out_of_memory else ""
        if failure := self._failure:
            raise replace(failure, message=f"{failure.message}{memory}").error()
        said = " / ".join(self._said) or "it said nothing"
        if number := _signal(code, said):
            raise StepKilled(f"{title}: the step's process was killed by signal {number}{memory}")
        if not self._started:
            raise HostUnfit(f"cannot start the step's process: {said}")
        raise BuildFailed(f"{title}: the step's process ended with {code}: {said}")


def _signal(code: int, said: str) -> int:
    """The signal that ended the step's process, 0 if none did. unshare ends itself by the signal
    that ended its child, and fails with these words where that is KILL, which has no handler to
    reset (util-linux 2.36, sys-utils/unshare.c)."""
    if code < 0:
        return -code
    if code > FATAL_SIGNAL:
        return code - FATAL_SIGNAL
    return signal.SIGKILL if "sigprocmask unblock failed" in said else 0
