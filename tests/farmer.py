"""One build on this host, of which a test runs a few commands as a step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks.model import (
    Bind,
    Build,
    Hook,
    HookType,
    Network,
    Output,
    Privileges,
    Source,
    SourceType,
    Step,
    StepKind,
)
from tasks.reporting import Line, Progress, Stream
from tasks.rootfs.workspace import Workspace
from tasks.settings import Settings
from tasks.step.launcher import perform


class Log:
    """A `Report` that keeps what hooks print."""

    def __init__(self) -> None:
        self.lines: list[Line] = []

    def line(self, line: Line) -> None:
        self.lines.append(line)

    def progress(self, progress: Progress) -> None:
        pass

    @property
    def printed(self) -> list[str]:
        return [line.text for line in self.lines if line.stream is not Stream.NOTE]


class Farmer:
    """One build on this host; `hooks` runs commands as a step of it, after its source."""

    def __init__(self, folder: Path, seed: Path) -> None:
        self.folder = folder
        self.seed = seed
        self.settings = Settings(state_dir=str(folder / "state"))
        self.log = Log()

    def build(
        self,
        phase: HookType,
        commands: Sequence[str],
        privileges: Privileges = Privileges.CONTAINED,
        network: Network = Network.HOST,
        **more: object,
    ) -> Build:
        hook = Hook(name="h", type=phase, commands=tuple(commands))
        binds = (Bind(source=str(self.folder / "ws/cache"), target="/var/cache/packages"),)
        steps = (
            Step(number=0, kind=StepKind.SOURCE),
            Step(
                number=1,
                kind=StepKind.HOOKS,
                phase=phase,
                file="f.yml",
                hooks=(hook,),
                privileges=privileges,
                network=network,
            ),
            Step(number=2, kind=StepKind.PACK),
        )
        fields: dict[str, object] = {
            "id": "b-1",
            "job": "b",
            "specfile": str(self.folder / "s.yaml"),
            "folder": str(self.folder),
            "source": Source(type=SourceType.FILE, path=str(self.seed)),
            "output": Output(name="o.tar", dir=str(self.folder / "out")),
            "steps": steps,
            "workspacedir": str(self.folder / "ws"),
            "chroot_binds": binds,
        }
        return Build(**(fields | more))  # type: ignore[arg-type]

    def workspace(self, build: Build) -> Workspace:
        made = Workspace.on_farm(build, 1, self.settings)
        made.create()
        return made

    def hooks(self, phase: HookType, *commands: str, **more: Any) -> list[str]:
        build = self.build(phase, commands, **more)
        workspace = self.workspace(build)
        with workspace.lock():
            perform(build, 0, workspace, self.log, settings=self.settings)
            perform(build, 1, workspace, self.log, settings=self.settings)
        return self.log.printed
