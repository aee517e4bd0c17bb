"""One build on this machine, with no server: its steps in sequence, from this process."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from tasks import __version__
from tasks.artifacts.manifest import write_build
from tasks.causes.kept_log import KeptLog
from tasks.errors import BadInput, BuildFailed, HostUnfit, StagefarmError, of_system
from tasks.host.process_tree import kill_tree
from tasks.model import Build, BuildState, HookType, Step, StepKind
from tasks.reporting import Report
from tasks.results import Artifact, Cause
from tasks.rootfs.workspace import Workspace
from tasks.settings import Settings
from tasks.step import launcher


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedStep:
    step: Step
    seconds: float
    artifacts: tuple[Artifact, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The times and artifacts of a finished build; `failure` is what ended it early, `cause` what
    its log says about that."""

    build: Build
    steps: tuple[FinishedStep, ...]
    failure: StagefarmError | None = None
    cause: Cause | None = None

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        return tuple(artifact for done in self.steps for artifact in done.artifacts)

    def as_json(self) -> str:
        """`error`, `reason` and `hint` of a failure are what the ledger of a farm has by these
        names."""
        told: dict[str, object] = {"build": self.build.id, "job": self.build.job}
        told["state"] = BuildState.FAILED if self.failure else BuildState.SUCCEEDED
        if self.failure:
            told["error"] = type(self.failure).__name__
            told |= {"reason": str(self.failure), "hint": self.failure.hint}
            told["cause"] = asdict(self.cause) if self.cause else None
        told["steps"] = [
            {"number": t.step.number, "title": t.step.title, "seconds": round(t.seconds, 3)}
            for t in self.steps
        ]
        return json.dumps(told | {"artifacts": [asdict(artifact) for artifact in self.artifacts]})


def run_here(
    build: Build,
    settings: Settings,
    report: Report,
    *,
    keep: bool,
    on_step: Callable[[Step], None],
) -> Summary:
    """Do all steps of `build` in the job's own `workspacedir`, under its lock.

    With `keep` the root filesystem is a plain folder, is used as found, and is kept when the
    build ends, also after a failure; otherwise it is new and is removed.
    """
    done: list[FinishedStep] = []
    failure: StagefarmError | None = None
    log = KeptLog(report)
    try:
        _run_here(build, settings, log, keep=keep, on_step=on_step, done=done)
    except StagefarmError as error:
        failure = error
    except BrokenPipeError:  # nobody reads what is printed any more
        raise
    except OSError as error:
        failure = of_system(error)
    cause = log.cause(settings, failure) if isinstance(failure, BuildFailed) else None
    return Summary(build=build, steps=tuple(done), failure=failure, cause=cause)


def _run_here(
    build: Build,
    settings: Settings,
    report: Report,
    *,
    keep: bool,
    on_step: Callable[[Step], None],
    done: list[FinishedStep],
) -> None:
    """Append to `done` as steps end."""
    launcher.require_fit(build)
    skips_source = StepKind.SOURCE not in {step.kind for step in build.steps}
    plain = keep or skips_source
    workspace = Workspace.here(build, settings, plain=plain)
    _refuse_own_root(workspace.rootfs)
    if StepKind.PACK in {step.kind for step in build.steps}:
        _require_place(Path(build.output.dir), build.output.name, workspace.rootfs)
    with workspace.lock(), _rootfs(workspace, begin_anew=not plain, keep=keep):
        if skips_source and HookType.OUTER_PRE_SOURCER not in {s.phase for s in build.steps}:
            _require_content(workspace.rootfs)
        began = time.monotonic()
        for step in build.steps:
            on_step(step)
            done.append(_run_step(step, build, workspace, report, settings, began=began))
        _write_records(Summary(build=build, steps=tuple(done)), settings)


def _run_step(
    step: Step,
    build: Build,
    workspace: Workspace,
    report: Report,
    settings: Settings,
    *,
    began: float,
) -> FinishedStep:
    start = time.monotonic()
    result = launcher.perform(
        build,
        step.number,
        workspace,
        report,
        settings=settings,
        timeout_s=_left(build, start - began),
    )
    return FinishedStep(step=step, seconds=time.monotonic() - start, artifacts=result.artifacts)


def _write_records(summary: Summary, settings: Settings) -> None:
    """Write the build record of each tarball, next to it."""
    about = {"stagefarm": __version__, "host": settings.host, "ended_at": time.time()}
    about |= json.loads(summary.as_json()) | {"build": summary.build}
    for artifact in summary.artifacts:
        if Path(artifact.path).exists():
            write_build(Path(artifact.path), about)


def _left(build: Build, passed_s: float) -> float:
    """Seconds left of the build's time limit, 0 for no limit."""
    return max(build.timeout_s - passed_s, 0.001) if build.timeout_s else 0.0


@contextmanager
def _rootfs(workspace: Workspace, *, begin_anew: bool, keep: bool) -> Iterator[None]:
    """The root filesystem for the duration of a build, removed afterwards unless `keep`. Processes
    and layers left by a killed build are removed first."""
    kill_tree(Path(workspace.home))
    try:
        if begin_anew:
            workspace.remove_rootfs()
        else:
            workspace.remove_layer()
        workspace.create()
        yield
    finally:
        if keep:
            workspace.remove_home()
        else:
            workspace.remove()


def _refuse_own_root(rootfs: Path) -> None:
    """A link from there to / would unpack the seed over this machine's own files."""
    if rootfs.resolve() == Path("/"):
        raise BadInput(f"{rootfs} leads to /", "remove the link, or choose another workspacedir")


def _require_place(folder: Path, name: str, rootfs: Path) -> None:
    """Refuse an output that cannot be written before hours are spent on building it."""
    nearest = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        why = "cannot be written to" if nearest.is_dir() else "is not a folder"
        raise HostUnfit(f"output.dir is {folder}, but {nearest} {why}", "choose another output.dir")
    if (folder / name).is_dir():
        raise BadInput(f"{folder / name} is a folder", "remove it, or choose another output.name")
    if folder.resolve().is_relative_to(rootfs.resolve()):
        raise BadInput(
            f"output.dir is {folder}, in the root filesystem that is packed",
            "choose one outside it",
        )


def _require_content(rootfs: Path) -> None:
    if not any(rootfs.iterdir()):
        raise BadInput(
            f"the source phase is skipped, but {rootfs} is empty",
            "run once without --skip-source-phase and with --cleanup=false",
        )
