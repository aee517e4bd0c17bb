"""Running hooks: their commands one by one, in the right place, seeing the right variables."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

from tasks.container.container import Enter
from tasks.errors import BuildFailed, HookFailed, HostUnfit, TimedOut
from tasks.host.process import STANDARD_LANG, STANDARD_PATH, Limits, run, standard_environment
from tasks.model import Build, Hook, Step, StepKind
from tasks.reporting import Line, Report, Stream
from tasks.rootfs.chroot import ON_HOST, Chroot, Way
from tasks.rootfs.workspace import Workspace
from tasks.step.protocol import Assignment

DEFAULT_ENTRYPOINT = ("/bin/bash", "-c")
MARKDEVKIT_VERSION = "0.32.0"
"""The version of mark-devkit whose hooks run here unchanged."""

LINE_MAX_CHARS = 16 * 1024
FATAL_SIGNAL = 128
"""A shell ends with this plus the number of the signal that ended its command."""


class Hooks:
    """Runs the hooks of one step. Create it inside the step's namespaces."""

    def __init__(self, assignment: Assignment, report: Report) -> None:
        self._build = assignment.build
        self._step = assignment.build.steps[assignment.step]
        self._workspace = assignment.workspace
        self._idle_limit_s = assignment.idle_limit_s
        self._host = assignment.host
        self._report = report
        self._environment = environment(self._build, self._step, self._workspace)

    def run(self) -> None:
        """Run every hook in order; `HookFailed` or `TimedOut` at the first that fails."""
        if self._step.is_outer:
            for hook in self._step.hooks:
                self.run_one(hook, ON_HOST)
            return
        chroot = Chroot(self._build, self._step, self._workspace.rootfs, self._host)
        chroot.prepare()
        for binds, hooks in groupby(self._step.hooks, key=lambda hook: hook.chroot_binds):
            with chroot.bound(binds) as way:
                for hook in hooks:
                    self.run_one(hook, way)

    def run_one(self, hook: Hook, way: Way) -> None:
        """Run one hook where `way` leads; `HookFailed` or `TimedOut` if it fails."""
        self._say(hook, f"hook {hook.name}", Stream.NOTE)
        for number, command in enumerate(hook.commands, start=1):
            argv = [*way.prefix, *(hook.entrypoint or DEFAULT_ENTRYPOINT), command]
            for tries_left in reversed(range(hook.retries + 1)):
                if not (failure := self._try_command(hook, number, argv, way.enter)):
                    break
                if not tries_left:
                    raise failure
                self._say(hook, f"{failure}; tries left: {tries_left}", Stream.NOTE)

    def _try_command(
        self, hook: Hook, number: int, argv: Sequence[str], enter: Enter | None
    ) -> BuildFailed | None:
        try:
            code = self._run_command(hook, argv, enter)
        except TimedOut as error:
            return TimedOut(f"{self._where(hook, number)} {error}")
        except HostUnfit as error:
            text = f"{self._where(hook, number)}: {error}"
            if enter and isinstance(error.__cause__, FileNotFoundError | PermissionError):
                return HookFailed(text)  # the root filesystem lacks the program
            raise HostUnfit(text, error.hint) from error
        return HookFailed(f"{self._where(hook, number)} {_ended(code)}") if code else None

    def _run_command(self, hook: Hook, argv: Sequence[str], enter: Enter | None) -> int:
        return run(
            argv,
            on_line=lambda text, stream: self._say(hook, text, stream),
            env=self._environment,
            cwd=self._workspace.working_dir,
            limits=Limits(timeout_s=hook.timeout_s, idle_s=self._idle_limit_s),
            enter=enter,
        )

    def _say(self, hook: Hook, text: str, stream: Stream) -> None:
        if len(text) > LINE_MAX_CHARS:
            text = f"{text[:LINE_MAX_CHARS]} … {len(text) - LINE_MAX_CHARS} more characters"
        self._report.line(Line(text=text, hook=hook.name, stream=stream))

    def _where(self, hook: Hook, number: int) -> str:
        of = f" {number} of {len(hook.commands)}" if len(hook.commands) > 1 else ""
        file = f" ({self._step.file})" if self._step.file else ""
        return f"hook {hook.name}{file}: command{of}"


def environment(build: Build, step: Step, workspace: Workspace) -> Mapping[str, str]:
    """All that a hook of `step` sees. Later ones win: this machine's few, the job's, the places.
    Whoever started the build has no part in what is sorted, said or written to a home inside."""
    base = standard_environment() | {"LANG": STANDARD_LANG}
    if step.runs_inside:
        base |= {"PATH": STANDARD_PATH, "HOME": "/root"}
    if build.cpu:
        base["QEMU_CPU"] = build.cpu
    places = {
        "MARKDEVKIT_VERSION": MARKDEVKIT_VERSION,
        "MARKDEVKIT_WORKSPACE": workspace.workspacedir,
        "MARKDEVKIT_ROOTFS": str(workspace.rootfs),
    }
    if _packed_before(build, step):
        places["MARKDEVKIT_OUTPUTDIR"] = str(Path(workspace.output_dir))
        places["MARKDEVKIT_OUTPUTNAME"] = build.output.name
    return base | build.environment | places


def _packed_before(build: Build, step: Step) -> bool:
    return any(earlier.kind is StepKind.PACK for earlier in build.steps[: step.number])


def _ended(code: int) -> str:
    if code < 0:
        return f"was ended by signal {-code}"
    if FATAL_SIGNAL < code < FATAL_SIGNAL + signal.NSIG:
        return f"exited with {code} (signal {code - FATAL_SIGNAL})"
    return f"exited with {code}"
