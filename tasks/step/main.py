"""What a step does inside its namespaces. The launcher runs it as `python -m tasks.step.main`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

from tasks.artifacts import manifest
from tasks.errors import BadInput, BuildFailed, PackFailed, StagefarmError, of_step
from tasks.host.locks import exclusive
from tasks.model import Build, RootfsKind, Source, StepKind, decode, encode
from tasks.reporting import Line, Progress, Report
from tasks.results import StepResult
from tasks.rootfs.layer import can_overlay
from tasks.rootfs.workspace import Workspace
from tasks.sources import dispatch
from tasks.sources.destination import Destination
from tasks.sources.finalizers import Finalizers
from tasks.step import checkpoint
from tasks.step.gate import Gate
from tasks.step.hooks import Hooks
from tasks.step.protocol import Assignment, Failure, Message, Restore

KILLED = 143
UMASK = 0o022
"""What hooks make has the modes that they meant, whoever started the build, and from where."""


class PipeReport:
    """Writes what happens to the host's side, one `Message` a line."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def line(self, line: Line) -> None:
        self.send(Message(line=line))

    def progress(self, progress: Progress) -> None:
        self.send(Message(progress=progress))

    def send(self, message: Message) -> None:
        data = memoryview(encode(message) + b"\n")
        while data:
            data = data[os.write(self._descriptor, data) :]


def perform(assignment: Assignment, report: Report) -> StepResult:
    """Carry out the step of `assignment`; every failure is a `StagefarmError`."""
    assignment.workspace.create()
    if assignment.restore:
        return _restore(assignment.restore, assignment.workspace, report)
    assignment.workspace.enter()
    if assignment.keep_in:
        kept = checkpoint.keep(assignment.workspace, Path(assignment.keep_in), report)
        return StepResult(artifacts=kept)
    match assignment.build.steps[assignment.step].kind:
        case StepKind.SOURCE:
            finalizers = _finalizers(assignment)
            return _fill(assignment.build.source, assignment.workspace, report, finalizers)
        case StepKind.HOOKS:
            return _run_hooks(assignment, report)
        case StepKind.PACK:
            return _pack(assignment, report)
        case StepKind.GATE:
            return _test(assignment, report)
        case kind:
            raise BuildFailed(f"{kind} is not a step of a build's own namespaces")


def _finalizers(assignment: Assignment) -> Finalizers | None:
    """How programs of packages are contained; None with the host's privileges."""
    privileges = assignment.build.privileges_of(assignment.build.steps[assignment.step])
    if not (found := assignment.host.filters.get(privileges)):
        return None
    rootfs = assignment.workspace.rootfs
    return Finalizers(rootfs=rootfs, privileges=privileges, filter=found)


def _fill(
    source: Source,
    workspace: Workspace,
    report: Report,
    finalizers: Finalizers | None = None,
) -> StepResult:
    """Begin from a layer above a seed, or in a plain folder: where one is asked for, where no
    overlay can be had, and where a hook has put files that the source may replace."""
    place = Destination(
        folder=Path(workspace.working_dir),
        storage=workspace.storage,
        report=report,
        home=Path(workspace.home),
        was_sent=workspace.is_on_farm,
        finalizers=finalizers,
    )
    dispatch.contain(source, place)
    if dispatch.is_seed(source) and _may_layer(workspace):
        dispatch.seed(source, workspace.seed, place)
        workspace.mount_layer()
        return StepResult(seed=workspace.seed.readlink().name, origin=place.learned.origin)
    digest = dispatch.fill(source, workspace.rootfs, place)
    return StepResult(seed=digest, origin=place.learned.origin)


def _may_layer(workspace: Workspace) -> bool:
    wanted = workspace.rootfs_kind is RootfsKind.OVERLAY
    return wanted and not any(workspace.rootfs.iterdir()) and can_overlay(Path(workspace.home))


def _restore(restore: Restore, workspace: Workspace, report: Report) -> StepResult:
    """Go back to a checkpoint: its root filesystem is a seed like any other."""
    checkpoint.restore_workspace(restore, workspace, report)
    workspace.enter()
    _fill(checkpoint.rootfs_source(restore), workspace, report)
    return StepResult(checkpoint=restore.checkpoint)


def _run_hooks(assignment: Assignment, report: Report) -> StepResult:
    Hooks(assignment, report).run()
    return StepResult()


def _pack(assignment: Assignment, report: Report) -> StepResult:
    workspace = assignment.workspace
    if not any(workspace.rootfs.iterdir()):
        raise PackFailed("the root filesystem is empty", "does a hook remove it?")
    target = Path(workspace.output_dir, assignment.build.output.name)
    wait = Line(text=f"waiting for {target}: another build writes it")
    with exclusive(target, on_wait=lambda: report.line(wait)):
        made, sidecars = manifest.pack(
            workspace.rootfs,
            target,
            report=report,
            source_date_epoch=_source_date_epoch(assignment.build),
            levels=workspace.storage.levels,
            tarformers=assignment.build.output.tarformers,
        )
    return StepResult(artifacts=(made,), sidecars=sidecars)


def _test(assignment: Assignment, report: Report) -> StepResult:
    tarball = Path(assignment.workspace.output_dir, assignment.build.output.name)
    tests = Gate(assignment, report).run()
    return StepResult(sidecars=(manifest.write_tests(tarball, tests),))


def _source_date_epoch(build: Build) -> int | None:
    """The latest time that a file of the tarball may have, if the job or the submitter says one."""
    given = build.environment.get("SOURCE_DATE_EPOCH", "")
    if given and not given.isdecimal():
        raise BadInput(f"SOURCE_DATE_EPOCH is {given!r}", "give it seconds since 1970")
    return int(given) if given else build.source_date_epoch


def main() -> int:
    """Take the assignment, do it, tell how it went."""
    os.umask(UMASK)
    report = PipeReport(_take_stdout())
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    report.send(Message())
    try:
        report.send(Message(result=perform(decode(sys.stdin.buffer.read(), Assignment), report)))
    except StagefarmError as error:
        return _fail(report, error)
    except OSError as error:
        return _fail(report, of_step(error))
    return 0


def _fail(report: PipeReport, error: StagefarmError) -> int:
    report.send(Message(failure=Failure.of(error)))
    return error.exit_code


def _take_stdout() -> int:
    """Keep standard output for messages alone: whatever else prints, prints to standard error."""
    messages = os.dup(1)
    os.dup2(2, 1)
    return messages


def _end(*_: object) -> NoReturn:
    """On TERM leave by an exception, so that what is half done is undone on the way."""
    raise SystemExit(KILLED)


if __name__ == "__main__":
    sys.exit(main())
