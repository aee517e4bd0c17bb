"""One step of one attempt, its signed job, and its paths on this host."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tasks.ledger.answers import ClaimedAttempt
from tasks.model import Build, Step, StepKind
from tasks.rootfs.workspace import Workspace
from tasks.trust.builds import Job
from tasks.worker.journal import Journal

REPEATABLE = (StepKind.PACK, StepKind.GATE, StepKind.PUBLISH)
"""Packing, testing and publishing do not change their input, so they can be repeated without
running hours of hooks again."""


@dataclass(frozen=True, slots=True)
class Work:
    claim: ClaimedAttempt
    job: Job
    number: int
    workspace: Workspace

    @property
    def build(self) -> Build:
        return self.job.build

    @property
    def step(self) -> Step:
        return self.build.steps[self.number]

    @property
    def opening(self) -> str:
        """The first line of the step's log."""
        return f"{self.step.title} on {self.claim.holder.host}"

    @property
    def home(self) -> Path:
        return Path(self.workspace.home)

    @property
    def is_repeatable(self) -> bool:
        return self.step.kind in REPEATABLE

    @property
    def journal(self) -> Journal:
        return Journal(self.home)
