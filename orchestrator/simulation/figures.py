"""Figures of a simulation: how old stages were, how long nights took, who waited. From its events
alone."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from orchestrator.simulation.model import Event, Happening, Host, Scenario


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Of several times in seconds: how many, the median, the 95th percentile, the longest."""

    count: int
    median_s: float
    p95_s: float
    worst_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ages:
    """The age of what users can download, over all stages and all the time. Of the `contracts`
    stages that have one, `in_contract` is the share of the time in which it was kept, None without
    any, and `broken` those whose contract ever was not."""

    median_s: float
    worst_s: float
    contracts: int
    in_contract: float | None
    broken: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """`urgent` are the waits of builds with the highest priority, if there are several priorities;
    `busy` is the share of the time of each host that was used, while the host was there."""

    ages: Ages
    nights: int
    skipped: int
    makespan: Times
    urgent: Times
    builds: Mapping[str, int]
    busy: float
    hosts: Mapping[str, float]


class Tally:
    """Adds up events as they come."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.counts = Counter[Happening]()
        self.published: dict[str, list[tuple[float, float]]] = {
            stage: [(scenario.begin, scenario.begin)] for stage in scenario.contracts
        }
        self.makespans: list[float] = []
        self.queued: dict[tuple[str, int, str], float] = {}
        self.started: dict[tuple[str, int], float] = {}
        self.waits: list[float] = []
        self.used_s: dict[str, float] = defaultdict(float)
        self.urgent = _most_urgent(scenario)

    def add(self, event: Event) -> None:
        self.counts[event.what] += 1
        match event.what:
            case Happening.PUBLISHED if event.at < self.scenario.end:
                self.published[event.stage].append((event.at, event.built_at))
            case Happening.NIGHT_ENDED:
                self.makespans.append(event.at - event.night)
            case Happening.QUEUED if event.attempt == 1:
                self.queued[event.batch, event.night, event.stage] = event.at
            case Happening.STARTED:
                self.started[event.host, event.slot] = event.at
                if event.attempt == 1 and (event.batch, event.stage) in self.urgent:
                    queued = self.queued[event.batch, event.night, event.stage]
                    self.waits.append(event.at - queued)
            case Happening.SUCCEEDED | Happening.FAILED | Happening.LOST:
                began = self.started.pop((event.host, event.slot), event.at)
                self.used_s[event.host] += max(0.0, min(event.at, self.scenario.end) - began)

    def figures(self) -> Figures:
        there = {host.name: _there_s(host, self.scenario) for host in self.scenario.hosts}
        ended = (Happening.SUCCEEDED, Happening.FAILED, Happening.CANCELLED, Happening.LOST)
        return Figures(
            ages=_ages(self.scenario.contracts, self._lives()),
            nights=self.counts[Happening.NIGHT_MADE],
            skipped=self.counts[Happening.NIGHT_SKIPPED],
            makespan=times_of(self.makespans),
            urgent=times_of(self.waits),
            builds={str(what): self.counts[what] for what in ended},
            busy=_share(sum(self.used_s.values()), sum(there.values())),
            hosts={name: _share(self.used_s[name], there_s) for name, there_s in there.items()},
        )

    def _lives(self) -> dict[str, list[_Life]]:
        return {
            stage: [
                (at - built_at, until - built_at)
                for (at, built_at), (until, _) in zip(
                    published, [*published[1:], (self.scenario.end, 0.0)], strict=True
                )
            ]
            for stage, published in self.published.items()
        }


_Life = tuple[float, float]
"""How old a stage was when it was published, and when the next one was."""


def times_of(values: Sequence[float]) -> Times:
    found = sorted(values) or [0.0]
    at_95 = found[math.ceil(0.95 * len(found)) - 1]
    return Times(count=len(values), median_s=median(found), p95_s=at_95, worst_s=found[-1])


def _most_urgent(scenario: Scenario) -> set[tuple[str, str]]:
    """Batch and stage of the builds with the highest priority, if there are several priorities."""
    priorities = {
        (batch.name, stage.id): stage.priority
        for batch in scenario.batches
        for stage in batch.stages
    }
    highest = max(priorities.values())
    if min(priorities.values()) == highest:
        return set()
    return {name for name, priority in priorities.items() if priority == highest}


def _ages(contracts: Mapping[str, float], lives: Mapping[str, Sequence[_Life]]) -> Ages:
    bound = {stage: max_age_s for stage, max_age_s in contracts.items() if max_age_s}
    stale_s = {
        stage: sum(max(0.0, old - max(young, max_age_s)) for young, old in lives[stage])
        for stage, max_age_s in bound.items()
    }
    every = [life for of_stage in lives.values() for life in of_stage]
    bound_s = sum(old - young for stage in bound for young, old in lives[stage])
    return Ages(
        median_s=_median_age(every),
        worst_s=max(old for _, old in every),
        contracts=len(bound),
        in_contract=1.0 - _share(sum(stale_s.values()), bound_s) if bound else None,
        broken=tuple(stage for stage, seconds in stale_s.items() if seconds),
    )


def _median_age(lives: Sequence[_Life]) -> float:
    """The age below which stages were for half of the time. Between two edges as many lives go on
    as have begun and not ended."""
    left_s = sum(old - young for young, old in lives) / 2
    edges = sorted(edge for life in lives for edge in ((life[0], 1), (life[1], -1)))
    going_on, before = 0, 0.0
    for age, step in edges:
        if going_on * (age - before) >= left_s > 0:
            return before + left_s / going_on
        left_s -= going_on * (age - before)
        going_on, before = going_on + step, age
    return before


def _there_s(host: Host, scenario: Scenario) -> float:
    """The time of all slots of the host while it was not lost."""
    away_s = sum(
        max(0.0, min(one.at + one.lasts_s, scenario.end) - max(one.at, scenario.begin))
        for one in host.outages
    )
    return host.slots * (scenario.end - scenario.begin - away_s)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
