"""One step of one attempt, and its paths on this host."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tasks.ledger.answers import ClaimedAttempt
from tasks.model import Build, Step
from tasks.rootfs.workspace import Workspace
from tasks.worker.journal import Journal


@dataclass(frozen=True, slots=True)
class Work:
    claim: ClaimedAttempt
    build: Build
    number: int
    workspace: Workspace

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
    def journal(self) -> Journal:
        return Journal(self.home)
