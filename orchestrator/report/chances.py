"""The stages of releases by how long their contracts still hold, each with its next chance."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from orchestrator.nights.files import lines_of
from orchestrator.nights.slots import coming, night_id
from orchestrator.release.taking import batch_name
from orchestrator.report.farm import read_newest
from orchestrator.report.matrix import stage_views
from orchestrator.report.model import Freshness, KnownStage, Release, StageName, StageView
from orchestrator.report.published import Source
from tasks.ledger.builds import Ledger
from tasks.ledger.order import UNKNOWN_S, expected_s
from tasks.ledger.queues import Queues, Variant
from tasks.ledger.records import Record
from tasks.ledger.schedules import Schedules, ScheduleState
from tasks.model import BuildState, slug_of

BUILDS_MAX = 5_000
"""So many of the newest builds are looked at."""


class Coming(StrEnum):
    """What may renew a stage next."""

    RUNNING = "running"
    QUEUED = "queued"
    BLOCKED = "blocked"
    SCHEDULED = "scheduled"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chance:
    """What comes next, and its name: a build, or a night that is due. `at` is when it began, is
    expected to begin, or is due; 0 if that is not known."""

    what: Coming = Coming.NOTHING
    name: str = ""
    at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Aged:
    """One stage: what users have of it, and how long a new one is expected to take."""

    view: StageView
    rest_s: float
    chance: Chance

    def age_s(self, now: float) -> float:
        """The age of what users have; 0 if they have nothing."""
        return now - self.view.built_at if self.view.built_at else 0.0

    def slack_s(self, now: float) -> float:
        """For how long a new build can still wait: without end where there is no contract, and no
        longer at all for what was never published."""
        if not self.view.max_age_s:
            return math.inf
        return self.view.until - self.rest_s - now if self.view.until else -math.inf

    @property
    def is_broken(self) -> bool:
        return self.view.freshness is Freshness.STALE


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What the farm expects: when the builds that wait will start, by id; the next night of each
    batch, by name; how long builds of a variant take."""

    starts: Mapping[str, float] = field(default_factory=dict)
    nights: Mapping[str, Chance] = field(default_factory=dict)
    takes_s: Mapping[Variant, float] = field(default_factory=dict)

    def chance(self, view: StageView, tries: Sequence[Record]) -> Chance:
        """The build that runs or waits, or the next night of the batch that made the last one."""
        for one in tries:
            if one.state is BuildState.RUNNING:
                return Chance(what=Coming.RUNNING, name=one.id, at=one.claimed)
            if one.state is BuildState.QUEUED:
                return Chance(what=Coming.QUEUED, name=one.id, at=self.starts.get(one.id, 0.0))
            if one.state is BuildState.BLOCKED:
                return Chance(what=Coming.BLOCKED, name=one.id)
        batches = [*(one.batch for one in tries), *(stage.batch for stage in view.offered)]
        names = map(batch_name, batches)
        return next((self.nights[name] for name in names if name in self.nights), Chance())


def read_aged(sources: Sequence[Source], ledger: Ledger | None, now: float) -> list[Aged]:
    """Every stage of the releases, the least slack first. Without a ledger no chance is known."""
    releases = [source.read() for source in sources]
    if not ledger:
        return by_slack(releases, (), {}, Outlook(), now)
    stages, tries = read_newest(ledger, sources, BUILDS_MAX)
    records = {record.id: record for group in tries.values() for record in group}
    outlook = _outlook(ledger, list(records.values()), now)
    return by_slack(releases, stages, tries, outlook, now)


def by_slack(
    releases: Sequence[Release],
    stages: Sequence[KnownStage],
    tries: Mapping[StageName, Sequence[Record]],
    outlook: Outlook,
    now: float,
) -> list[Aged]:
    """The stages that are published, or that builds make; `tries` are these, newest first."""
    found = []
    for view in stage_views(releases, stages, now):
        made = tries.get(view.name, ())
        rest_s = outlook.takes_s.get(_variant(made[0]), UNKNOWN_S) if made else UNKNOWN_S
        found.append(Aged(view=view, rest_s=rest_s, chance=outlook.chance(view, made)))
    return sorted(found, key=lambda one: (one.slack_s(now), one.view.name))


def _variant(record: Record) -> Variant:
    return record.queue, record.job, record.variant


def _outlook(ledger: Ledger, known: Sequence[Record], now: float) -> Outlook:
    queues = Queues(ledger.connection)
    variants = sorted({_variant(record) for record in known})
    took = zip(variants, queues.successes(variants), strict=True)
    waiting = {record.queue for record in known if record.state is BuildState.QUEUED}
    return Outlook(
        starts={
            one.build: now + one.before_s for queue in waiting for one in queues.waiting(queue)
        },
        nights=dict(_nights(Schedules(ledger.connection).all(), now)),
        takes_s={variant: expected_s(successes) for variant, successes in took},
    )


def _nights(schedules: Iterable[ScheduleState], now: float) -> Iterator[tuple[str, Chance]]:
    """The next night of each schedule that goes on by itself, by the name of its batch."""
    for state in schedules:
        after = max(now, state.paused if state.is_paused(now) else 0.0)
        if state.broken or math.isinf(after):
            continue
        for slot in coming(lines_of(state.lines), datetime.fromtimestamp(after, UTC), 1):
            night = night_id(state.batch, slot.at)
            yield slug_of(state.batch), Chance(what=Coming.SCHEDULED, name=night, at=slot.seconds)
