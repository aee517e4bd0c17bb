"""The messages between the host's side of a step and the step's own process, as JSON lines."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.errors import StagefarmError, by_name
from tasks.model import Build
from tasks.reporting import Line, Progress
from tasks.results import Checkpoint, StepResult
from tasks.rootfs.chroot import HostFacts
from tasks.rootfs.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore:
    """A checkpoint, and the folder of this host's store that it lies in."""

    checkpoint: Checkpoint
    folder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What a step's process is told: which step of what, where, how long it may be silent, and
    what it has to know of this host.

    With `keep_in` the step is done already, and its state is to be packed into that
    folder; with `restore` its state is to be restored instead of doing it.
    """

    build: Build
    step: int
    workspace: Workspace
    idle_limit_s: float
    host: HostFacts
    keep_in: str = ""
    restore: Restore | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An error on its way between processes: the name of its class and its texts."""

    kind: str
    message: str
    hint: str = ""

    @classmethod
    def of(cls, error: StagefarmError) -> Failure:
        return cls(kind=type(error).__name__, message=str(error), hint=error.hint)

    def error(self) -> StagefarmError:
        return by_name(self.kind)(self.message, self.hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What a step's process reports: one of these a line. The first is empty and says that the
    process runs; the last is a result or a failure."""

    line: Line | None = None
    progress: Progress | None = None
    result: StepResult | None = None
    failure: Failure | None = None
