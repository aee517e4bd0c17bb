"""The host's side of a step: a process tree in namespaces of its own, and what it tells.

A step runs as `python -m tasks.perform`, as the init of a PID namespace, in a mount namespace from
which nothing propagates. It takes an `Assignment` on its standard input and writes one `Message`
a line on its standard output. It dies with its parent, and all that it started dies with it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tasks import cgroup
from tasks.errors import BuildFailed, HostUnfit, StagefarmError, TimedOut, by_name
from tasks.foreign import require_handler_for, runnable
from tasks.model import (
    Build,
    Checkpoint,
    HookType,
    Line,
    Progress,
    StepResult,
    Stream,
    decode,
    encode,
)
from tasks.process import GRACE_S, Limits, run, standard_environment
from tasks.report import Report
from tasks.workspace import Workspace

NAMESPACES = (
    "setpriv", "--pdeathsig", "KILL", "--",
    "unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child",
    "--mount-proc", "--",
)  # fmt: skip
SAID_MAX_LINES = 20
PIDS_MAX = 16_384
"""Processes that one step may have: far more than a build wants, fewer than a host has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore:
    """A checkpoint, and the folder of this host's store that it lies in."""

    checkpoint: Checkpoint
    folder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What a step's process is told: which step of what, where, how long it may be silent, and
    which machines' programs run here (`foreign.runnable`).

    With `keep_in` the step is done already, and its state is to be packed into that folder; with
    `restore` its state is to be restored instead of doing it.
    """

    build: Build
    step: int
    workspace: Workspace
    idle_limit_s: float
    machines: tuple[int, ...]
    keep_in: str = ""
    restore: Restore | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An error on its way between processes: the name of its class and its texts."""

    kind: str
    message: str
    hint: str = ""

    def error(self) -> StagefarmError:
        return by_name(self.kind)(self.message, self.hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What a step's process tells: one of these a line; the last is a result or a failure."""

    line: Line | None = None
    progress: Progress | None = None
    result: StepResult | None = None
    failure: Failure | None = None


def perform(
    build: Build,
    step: int,
    workspace: Workspace,
    report: Report,
    *,
    idle_limit_s: float = 0.0,
    timeout_s: float = 0.0,
    pids_max: int = PIDS_MAX,
    keep_in: str = "",
    restore: Restore | None = None,
) -> StepResult:
    """Run step number `step` of `build` to its end and give its result; raises what it raised,
    `TimedOut` after `timeout_s`, what is left of the build's time limit (0: there is none), and
    `BuildFailed` where its tree was killed. The caller holds the workspace's lock. `keep_in` and
    `restore`: see `Assignment`."""
    require_fit(build)
    relay = _Relay(report)
    assignment = Assignment(
        build=build,
        step=step,
        workspace=workspace,
        idle_limit_s=idle_limit_s,
        machines=runnable(),
        keep_in=keep_in,
        restore=restore,
    )
    with cgroup.limited(pids_max) as group, _naming_the_limit(build):
        code = run(
            [*group, *NAMESPACES, sys.executable, "-P", "-m", "tasks.perform"],
            on_line=relay.take,
            env=standard_environment(),
            cwd="/",
            stdin=encode(assignment),
            limits=Limits(timeout_s=timeout_s),
            grace_s=3 * GRACE_S,
            on_start=workspace.record_tree,
        )
    if relay.failure:
        raise relay.failure.error()
    if code or not relay.result:
        raise BuildFailed(f"{build.steps[step].title}: {relay.last_words(code)}")
    return relay.result


@contextmanager
def _naming_the_limit(build: Build) -> Iterator[None]:
    """Tell a person the limit that was set, not what was left of it in this step."""
    try:
        yield
    except TimedOut as error:
        limit = f"its time limit of {build.timeout_s:g} s"
        raise TimedOut(f"the build took longer than {limit}") from error


def require_fit(build: Build) -> None:
    """`HostUnfit` where this machine or user cannot build `build`, before anything is done."""
    require_root()
    if HookType.INNER_CHROOT in {step.phase for step in build.steps}:
        require_handler_for(build.arch)


def require_root() -> None:
    """`HostUnfit` for an ordinary user, with the way out."""
    if os.geteuid():
        raise HostUnfit(
            "building needs root: it mounts, enters root filesystems and keeps owners",
            "run it with sudo, or in a user namespace: unshare --map-root-user stagefarm ...",
        )


class _Relay:
    """Hands on what the step's process says, and keeps how it ended."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._said: list[str] = []
        self.result: StepResult | None = None
        self.failure: Failure | None = None

    def take(self, line: str, stream: Stream) -> None:
        if stream is Stream.STDERR:
            self._said = [*self._said[1 - SAID_MAX_LINES :], line]
            return
        message = decode(line, Message)
        if message.line:
            self._report.line(message.line)
        if message.progress:
            self._report.progress(message.progress)
        self.result = message.result or self.result
        self.failure = message.failure or self.failure

    def last_words(self, code: int) -> str:
        said = " / ".join(self._said)
        if code < 0 or code > 128:
            return f"the step's process was killed{f': {said}' if said else ''}"
        return f"the step's process ended with {code}: {said or 'it said nothing'}"
