"""Stages of one seed that are spoiled in one way each, and tested as a build host tests them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tasks.artifacts.gate_tests import GateTest, Outcome, parse
from tasks.model import Build, Hook, HookType, Network, Step, StepKind
from tasks.results import StepResult
from tasks.rootfs.workspace import Workspace
from tasks.step.launcher import perform
from tests.farmer import Farmer

SOURCE, SPOIL, PACK, GATE = range(4)
numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Stage:
    """A build of this host, of which a test runs steps."""

    farmer: Farmer
    build: Build
    workspace: Workspace

    def do(self, *steps: int) -> StepResult:
        """Run these steps; the result of the last one."""
        for step in steps:
            result = perform(
                self.build, step, self.workspace, self.farmer.log, settings=self.farmer.settings
            )
        return result

    def tests(self) -> dict[str, GateTest]:
        """Run the step that tests; its results by their names."""
        (made,) = self.do(GATE).sidecars
        return {test.name: test for test in parse(Path(made.path).read_bytes(), made.name)}


@contextmanager
def stage(
    farmer: Farmer, *hooks: Hook, spoil: str = "", boot: bool = False, **more: object
) -> Iterator[Stage]:
    """A build that runs `spoil` in its root filesystem before it is packed."""
    spoiling = (Hook(name="spoil", commands=(spoil,)),) if spoil else ()
    phase = HookType.INNER_CHROOT
    steps = (
        Step(number=SOURCE, kind=StepKind.SOURCE),
        Step(number=SPOIL, kind=StepKind.HOOKS, phase=phase, file="f.yml", hooks=spoiling),
        Step(number=PACK, kind=StepKind.PACK),
        Step(number=GATE, kind=StepKind.GATE, hooks=hooks, boot=boot, network=Network.NONE),
    )
    given: dict[str, object] = {"id": f"b-{next(numbers)}", "chroot_binds": (), "steps": steps}
    build = farmer.build(phase, (), **(given | more))
    workspace = farmer.workspace(build)
    try:
        with workspace.lock():
            yield Stage(farmer, build, workspace)
    finally:
        workspace.remove()


def results_of(
    farmer: Farmer, *hooks: Hook, spoil: str = "", boot: bool = False
) -> dict[str, GateTest]:
    """The results of such a stage."""
    with stage(farmer, *hooks, spoil=spoil, boot=boot) as made:
        made.do(SOURCE, *([SPOIL] if spoil else []))
        return made.tests()


def named(tests: dict[str, GateTest], outcome: Outcome) -> set[str]:
    return {test.name for test in tests.values() if test.outcome is outcome}


def a_test(*commands: str, name: str = "mine", **more: object) -> Hook:
    """A hook of the type `gate`."""
    return Hook(name=name, type=HookType.GATE, commands=commands, **more)  # type: ignore[arg-type]
