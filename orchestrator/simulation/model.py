"""What is simulated, and what happens in it. Times are in seconds since 1970."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from orchestrator.formats.batchfile import Line
from orchestrator.formats.scenariofile import Publish

LEASE_S = 90.0
"""A build of a lost host is queued again after so long: the default of the setting `lease_s`."""

ATTEMPTS_MAX = 3
"""A build that was lost so often has failed: the default of the setting `attempts_max`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """A host is lost at `at` with all it builds, and back after `lasts_s`."""

    at: float
    lasts_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    name: str
    queues: tuple[str, ...]
    slots: int = 1
    outages: tuple[Outage, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A stage that each night of its batch builds; with the same id in several batches it is the
    same stage. `after` is the stage of the batch that it starts from; `takes_s` the median of its
    time, with a log-normal `spread` (0.3: two builds of three take between takes_s / 1.3 and
    takes_s * 1.3); `fails` the share of its builds that fail."""

    id: str
    queue: str
    takes_s: float
    after: str = ""
    spread: float = 0.0
    fails: float = 0.0
    max_age_s: float = 0.0
    priority: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Stages are listed after those that they start from."""

    name: str
    lines: tuple[Line, ...]
    stages: tuple[Stage, ...]
    publish: Publish = Publish.BUILD


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Nights that are due from `begin` to `end`. At `begin` each stage has just been published."""

    begin: float
    end: float
    hosts: tuple[Host, ...]
    batches: tuple[Batch, ...]
    seed: int = 0

    @property
    def contracts(self) -> dict[str, float]:
        """How old each stage may be, by its id, 0 if that is not said; of several batches that say
        it, the first counts."""
        found: dict[str, float] = {}
        for stage in (stage for batch in self.batches for stage in batch.stages):
            found[stage.id] = found.get(stage.id) or stage.max_age_s
        return found


class Happening(StrEnum):
    NIGHT_MADE = "night made"
    NIGHT_WAITS = "night waits"
    NIGHT_SKIPPED = "night skipped"
    NIGHT_ENDED = "night ended"
    QUEUED = "queued"
    STARTED = "started"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"
    PUBLISHED = "published"
    HOST_LOST = "host lost"
    HOST_BACK = "host back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened. `night` is the slot of the night, `slot` one of those of the host;
    `built_at` is when the stage that is published was built."""

    at: float
    what: Happening
    batch: str = ""
    night: int = 0
    stage: str = ""
    attempt: int = 0
    host: str = ""
    slot: int = -1
    built_at: float = 0.0
