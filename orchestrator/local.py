"""One build on this machine, with no server: the steps one after the other, in this process."""

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
from tasks.errors import BadInput, HostUnfit
from tasks.host.process_tree import kill_tree
from tasks.model import Artifact, Build, HookType, Step, StepKind
from tasks.reporting import Report
from tasks.rootfs.workspace import Workspace
from tasks.settings import Settings
from tasks.step import launcher


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTime:
    step: Step
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a finished build took and left."""

    build: Build
    steps: tuple[StepTime, ...]
    artifacts: tuple[Artifact, ...]

    def as_json(self) -> str:
        steps = [
            {"number": t.step.number, "title": t.step.title, "seconds": round(t.seconds, 3)}
            for t in self.steps
        ]
        artifacts = [asdict(artifact) for artifact in self.artifacts]
        return json.dumps(
            {"build": self.build.id, "job": self.build.job, "steps": steps, "artifacts": artifacts}
        )


def run_here(
    build: Build,
    settings: Settings,
    report: Report,
    *,
    keep: bool,
    on_step: Callable[[Step], None],
) -> Summary:
    """Do all steps of `build` in the job's own `workspacedir`, under its lock.

    With `keep` the root filesystem is a plain folder, is used as it is found, and stays when the
    build ends, however it ends; otherwise it is new and goes.
    """
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
        return _run_steps(build, workspace, report, settings, on_step)


def _run_steps(
    build: Build,
    workspace: Workspace,
    report: Report,
    settings: Settings,
    on_step: Callable[[Step], None],
) -> Summary:
    began = time.monotonic()
    times: list[StepTime] = []
    artifacts: list[Artifact] = []
    for step in build.steps:
        on_step(step)
        start = time.monotonic()
        result = launcher.perform(
            build,
            step.number,
            workspace,
            report,
            idle_limit_s=settings.idle_limit_s,
            timeout_s=_left(build, time.monotonic() - began),
            pids_max=settings.pids_max,
        )
        times.append(StepTime(step=step, seconds=time.monotonic() - start))
        artifacts.extend(result.artifacts)
    summary = Summary(build=build, steps=tuple(times), artifacts=tuple(artifacts))
    _write_records(summary, settings)
    return summary


def _write_records(summary: Summary, settings: Settings) -> None:
    """Write beside each tarball how it was made."""
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
    """The root filesystem for the length of a build: nothing of it is left unless to be kept. What
    a build that was killed left behind, processes or a layer, goes first."""
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
    """A link from there to / would unpack the seed over this very machine."""
    if rootfs.resolve() == Path("/"):
        raise BadInput(f"{rootfs} leads to /", "remove the link, or choose another workspacedir")


def _require_place(folder: Path, name: str, rootfs: Path) -> None:
    """Refuse an output that could not be written, before hours are spent on what goes into it."""
    nearest = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        why = "cannot be written to" if nearest.is_dir() else "is no folder"
        raise HostUnfit(f"output.dir is {folder}, but {nearest} {why}", "choose another output.dir")
    if (folder / name).is_dir():
        raise BadInput(f"{folder / name} is a folder", "remove it, or choose another output.name")
    if folder.resolve().is_relative_to(rootfs.resolve()):
        raise BadInput(
            f"output.dir is {folder}, in the root filesystem that is packed",
            "choose one outside of it",
        )


def _require_content(rootfs: Path) -> None:
    if not any(rootfs.iterdir()):
        raise BadInput(
            f"the source phase is to be skipped, but {rootfs} is empty",
            "run once without --skip-source-phase and with --cleanup=false",
        )
