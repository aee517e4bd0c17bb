"""Policies: which of the builds that wait is taken first. Pure functions.

A policy ranks a build when it is queued; a host that has a free slot takes the build with the
lowest rank of all its queues, of equal ones the one that was queued first.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from tasks.ledger.order import patience_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A stage that waits for a build: the build's own, or one that starts from it. What users can
    download of it was built at `built_at`; a new one is there `needs_s` after the build has
    started, as expected. `max_age_s` is its contract, 0 if it has none."""

    built_at: float
    max_age_s: float
    needs_s: float

    @property
    def latest_start(self) -> float:
        """When the build has to start for the contract not to be broken."""
        return self.built_at + self.max_age_s - self.needs_s if self.max_age_s else math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A build that is queued at `now`; its own stage is the first of `goals`. Its `turn` is when it
    would be taken if its night had the queue to itself: a night of many builds does not come
    before a single one."""

    now: float
    turn: float
    priority: int
    goals: tuple[Goal, ...]

    @property
    def latest_start(self) -> float:
        """When it has to start for no contract of its chain to be broken."""
        return min(goal.latest_start for goal in self.goals)


Rank = tuple[float, ...]
Ranking = Callable[[Waiting], Rank]


class Policy(StrEnum):
    LEAST_SLACK = "least-slack"
    FIFO = "fifo"
    STALEST = "stalest-first"


def by_least_slack(waiting: Waiting) -> Rank:
    """By the latest start. Slack is that moment minus now, so it orders builds by slack at any
    time. It counts from the turn of the build at the earliest. A build without contract, or with a
    priority, waits no longer than its patience after its turn."""
    latest = waiting.latest_start
    return min(max(waiting.turn, latest), waiting.turn + _patience_s(waiting)), latest


def _patience_s(waiting: Waiting) -> float:
    if waiting.priority <= 0 and waiting.latest_start < math.inf:
        return math.inf
    return patience_s(waiting.priority)


def first_in_first_out(waiting: Waiting) -> Rank:
    """By priority, then in the order of queueing."""
    return (-waiting.priority, waiting.now)


def stalest_first(waiting: Waiting) -> Rank:
    """By priority, then by the age of what users can download of the stage."""
    return (-waiting.priority, waiting.goals[0].built_at)


RANKINGS = MappingProxyType(
    {
        Policy.LEAST_SLACK: by_least_slack,
        Policy.FIFO: first_in_first_out,
        Policy.STALEST: stalest_first,
    }
)
