"""What the ledger knows of past builds and of hosts, for simulations.

It is a hint here as everywhere: whoever writes to the ledger can make a simulation wrong.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median, pstdev

from orchestrator.simulation.model import Host
from orchestrator.simulation.scenario import SLOTS_MAX
from tasks.ledger.builds import Ledger
from tasks.ledger.bulk import Bulk
from tasks.ledger.hosts import Hosts
from tasks.ledger.records import Record
from tasks.model import BuildState

BUILDS = 5000
"""So many of the newest builds are looked at."""

AT_ONCE = 500
TOOK_MAX_S = 90 * 24 * 3600.0
"""No build takes longer: the ledger is wrong."""

FOR_SPREAD = 3
"""From so many builds on, one says how much their times vary."""

Key = tuple[str, str, str]
"""Job, options of the matrix, and queue: builds that have them in common take as long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """How long builds of a kind took, how much that varied, and how many failed."""

    takes_s: float
    spread: float = 0.0
    fails: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What the ledger says: the past of builds, and the hosts."""

    past: Mapping[Key, Past] = field(default_factory=dict)
    hosts: tuple[Host, ...] = ()


def history_of(ledger: Ledger) -> History:
    return History(past=past_of(_newest(ledger)), hosts=_hosts(ledger))


def past_of(records: Iterable[Record]) -> dict[Key, Past]:
    """The past of each kind of build of which one has succeeded."""
    took, failed = defaultdict[Key, list[float]](list), Counter[Key]()
    for record in records:
        key = (record.job, record.variant, record.queue)
        if record.state is BuildState.FAILED:
            failed[key] += 1
        elif record.state is BuildState.SUCCEEDED and record.claimed:
            seconds = record.ended - record.claimed
            took[key] += [seconds] if 0 < seconds < TOOK_MAX_S else []
    return {
        key: Past(
            takes_s=median(times),
            spread=_spread(times),
            fails=failed[key] / (failed[key] + len(times)),
        )
        for key, times in took.items()
        if times
    }


def _spread(times: Sequence[float]) -> float:
    """The spread of a log-normal distribution with these times."""
    if len(times) < FOR_SPREAD:
        return 0.0
    return math.expm1(pstdev([math.log(seconds) for seconds in times]))


def _newest(ledger: Ledger) -> Iterator[Record]:
    """The newest builds that repeat no other, without those that are forgotten meanwhile."""
    ids = ledger.builds(BUILDS)
    for start in range(0, len(ids), AT_ONCE):
        records = Bulk(ledger.connection).records(ids[start : start + AT_ONCE])
        yield from (record for record in records.values() if not record.rebuild_of)


def _hosts(ledger: Ledger) -> tuple[Host, ...]:
    """The hosts that have not been drained, also those that are away just now."""
    return tuple(
        Host(name=host.name, queues=host.queues, slots=min(host.slots, SLOTS_MAX))
        for host in Hosts(ledger.connection).all()
        if host.queues and host.slots > 0 and not host.drained
    )
