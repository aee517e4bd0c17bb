"""The order of a queue: what the rank of a build is made of. Pure.

A rank is a time, by when a build should start. Among waiting builds it does not change as time goes
by, so it is given once, by `rank` in `lua/prelude.lua`:

    turn  when the build would come if its flow (batch, or submitter without one) had the queue to
          itself: now, or when the flow's builds before it are through
    rank  the earlier of: its latest start by a contract, but not before its turn; and its turn and
          its patience

So no newcomer comes before a build whose rank is over: nothing is starved.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from tasks.model import Build

FAR_S = 1e11
"""Longer than anything waits."""

UNKNOWN_S = 3600.0
"""How long a build is expected to take of which none has succeeded yet."""

PRIORITY_MAX = 8
PATIENCE_S = 6 * 3600.0
"""A build of priority 8 is as urgent as one of priority 7 that has waited so much longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the rank of a build is made of. `flow` names those who share turns; `cost_s` is how
    long the queue is busy with the build; `latest` is its latest start by its contract, and
    `patience_s` how long it waits after its turn at most, each FAR_S if there is none. `latest` is
    `published_at`, 0 for never, and `max_age_s` without `rest_s`, the expected time until the
    stage with that contract is there."""

    flow: str
    cost_s: float
    latest: float = FAR_S
    patience_s: float = FAR_S
    published_at: float = 0.0
    max_age_s: float = 0.0
    rest_s: float = 0.0

    def slack_s(self, now: float) -> float:
        """How long the build can still wait without breaking its contract."""
        return self.latest - now


def rank_of(order: Order, turn: float) -> float:
    """The rank of a build whose turn is `turn`, as `lua/prelude.lua` gives it, which adds decimals
    by the order of submission."""
    return float(int(min(max(turn, order.latest), turn + order.patience_s)))


def patience_s(priority: int) -> float:
    """How long a build of that priority waits after its turn at most: none from 8 upwards, two
    days for 0 and below."""
    return (PRIORITY_MAX - min(max(priority, 0), PRIORITY_MAX)) * PATIENCE_S


def order_of(build: Build, cost_s: float = UNKNOWN_S) -> Order:
    """The order of a build without contract."""
    return Order(flow=flow_of(build), cost_s=cost_s, patience_s=patience_s(build.priority))


def flow_of(build: Build) -> str:
    """Whose turn it shares: that of its batch, or of its submitter's builds without batch."""
    return build.batch or build.submitter


@dataclass(frozen=True, slots=True)
class Success:
    """When a build succeeded, and how long it took; 0 if it resumed from a checkpoint."""

    ended: float
    took_s: float


def expected_s(successes: Iterable[Success]) -> float:
    """How long the next build will take: the median of those before, UNKNOWN_S without any."""
    known = [one.took_s for one in successes if one.took_s > 0]
    return median(known) if known else UNKNOWN_S
