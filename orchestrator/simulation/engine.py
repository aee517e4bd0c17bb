"""Plays a scenario through, event by event, under one policy.

What chance decides (how long a build takes, whether it fails) depends on the seed, the stage and
the slot of its night alone, so it is the same under every policy: they are compared on one trace.
Of what happens at one moment, builds end first, then hosts are lost or come back, then nights are
due; only then are builds taken.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import count
from random import Random

from orchestrator.formats.scenariofile import Publish
from orchestrator.nights.slots import Slot, Turn, decide, slots
from orchestrator.simulation.model import (
    ATTEMPTS_MAX,
    LEASE_S,
    Batch,
    Event,
    Happening,
    Host,
    Scenario,
    Stage,
)
from orchestrator.simulation.policies import Goal, Rank, Ranking, Waiting

_END, _OUTAGE, _DUE = range(3)
"""The order of what happens at one moment."""


@dataclass(slots=True, eq=False)
class _Schedule:
    """A batch, its slots to come, its last night, and the slot that waits for the end of that."""

    batch: Batch
    coming: Iterator[Slot]
    night: _Night | None = None
    waits: Slot | None = None


@dataclass(slots=True, eq=False)
class _Night:
    """`left` counts the builds that have not ended, `built` says when those ended that are not
    published yet."""

    schedule: _Schedule
    slot: Slot
    left: int
    built: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class _Build:
    stage: Stage
    night: _Night
    turn: float
    takes_s: float
    fails: bool
    attempt: int = 1
    followers: list[_Build] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class _Seat:
    """One slot of a host, and what is built in it."""

    host: Host
    number: int
    build: _Build | None = None


def play(scenario: Scenario, ranking: Ranking) -> Iterator[Event]:
    """All that happens, in order, until the last night has ended."""
    simulation = _Simulation(scenario, ranking)
    simulation.begin()
    while simulation.agenda:
        simulation.go_on()
        yield from simulation.happened
        simulation.happened.clear()


class _Simulation:
    def __init__(self, scenario: Scenario, ranking: Ranking) -> None:
        self.scenario = scenario
        self.ranking = ranking
        self.happened: list[Event] = []
        self.now = scenario.begin
        self.numbers = count()
        self.agenda: list[tuple[float, int, int, Callable[[], None]]] = []
        self.queues: dict[str, list[tuple[Rank, int, _Build]]] = defaultdict(list)
        self.seats = [_Seat(host, i) for host in scenario.hosts for i in range(host.slots)]
        self.serving = Counter(name for seat in self.seats for name in seat.host.queues)
        self.away: set[str] = set()
        self.contracts = scenario.contracts
        self.built_at = dict.fromkeys(self.contracts, scenario.begin)
        self.needs = {batch.name: needs_of(batch) for batch in scenario.batches}

    def begin(self) -> None:
        before = datetime.fromtimestamp(self.scenario.begin - 1, UTC)
        for batch in self.scenario.batches:
            self.wait_for_slot(_Schedule(batch, slots(batch.lines, before)))
        for host in self.scenario.hosts:
            for outage in host.outages:
                self.plan(outage.at, _OUTAGE, partial(self.lose, host))
                self.plan(outage.at + outage.lasts_s, _OUTAGE, partial(self.come_back, host))

    def go_on(self) -> None:
        """Go on to the next moment at which something happens."""
        self.now = self.agenda[0][0]
        while self.agenda and self.agenda[0][0] == self.now:
            heapq.heappop(self.agenda)[-1]()
        self.take_builds()

    def plan(self, at: float, order: int, action: Callable[[], None]) -> None:
        heapq.heappush(self.agenda, (at, order, next(self.numbers), action))

    # Nights

    def wait_for_slot(self, schedule: _Schedule) -> None:
        slot = next(schedule.coming)
        if slot.seconds < self.scenario.end:
            self.plan(slot.seconds, _DUE, partial(self.come_due, schedule, slot))

    def come_due(self, schedule: _Schedule, slot: Slot) -> None:
        if schedule.waits:
            self.say_night(Happening.NIGHT_SKIPPED, schedule, schedule.waits)
            schedule.waits = None
        self.decide(schedule, slot)
        self.wait_for_slot(schedule)

    def decide(self, schedule: _Schedule, slot: Slot) -> None:
        """Make a night, skip it, or let it wait for the end of the one before: as the supervisor
        decides."""
        goes_on = "the night before" if schedule.night and schedule.night.left else ""
        now = datetime.fromtimestamp(self.now, UTC)
        waits = schedule.waits.seconds if schedule.waits else 0
        decision = decide([slot], now, goes_on=goes_on, waits=waits)
        schedule.waits = None
        if decision and decision.turn is Turn.MAKE:
            self.make_night(schedule, slot)
        elif decision and decision.turn is Turn.WAIT:
            schedule.waits = slot
            self.say_night(Happening.NIGHT_WAITS, schedule, slot)
        else:
            self.say_night(Happening.NIGHT_SKIPPED, schedule, slot)

    def make_night(self, schedule: _Schedule, slot: Slot) -> None:
        self.say_night(Happening.NIGHT_MADE, schedule, slot)
        stages = schedule.batch.stages
        schedule.night = _Night(schedule, slot, left=len(stages))
        turns = self.turns(schedule.batch)
        builds = {stage.id: self.draw(stage, schedule.night, turns[stage.id]) for stage in stages}
        for build in builds.values():
            if build.stage.after:
                builds[build.stage.after].followers.append(build)
        for build in builds.values():
            if not build.stage.after:
                self.queue(build)

    def draw(self, stage: Stage, night: _Night, turn: float) -> _Build:
        """The build of a stage in a night, with what chance decides of it."""
        key = (self.scenario.seed, night.schedule.batch.name, night.slot.seconds, stage.id)
        chance = Random(repr(key))  # noqa: S311 - no secret
        takes_s = stage.takes_s * (1 + stage.spread) ** chance.gauss(0.0, 1.0)
        return _Build(stage, night, turn, takes_s, fails=chance.random() < stage.fails)

    def turns(self, batch: Batch) -> dict[str, float]:
        """When each stage of a night that is made now would be built if the night had each queue to
        itself: by latest start, each after the one that it starts from."""
        depths = {"": 0}
        for stage in batch.stages:
            depths[stage.id] = depths[stage.after] + 1
        latest = {
            stage.id: min(goal.latest_start for goal in self.goals(batch.name, stage.id))
            for stage in batch.stages
        }
        turns, free = dict[str, float](), defaultdict[str, float](lambda: self.now)
        for stage in sorted(batch.stages, key=lambda one: (depths[one.id], latest[one.id])):
            turns[stage.id] = free[stage.queue]
            free[stage.queue] += stage.takes_s / self.serving[stage.queue]
        return turns

    def goals(self, batch: str, stage: str) -> tuple[Goal, ...]:
        """What a build of the stage would bring about if it was taken now."""
        return tuple(
            Goal(built_at=self.built_at[one], max_age_s=self.contracts[one], needs_s=needs_s)
            for one, needs_s in self.needs[batch][stage].items()
        )

    def end_night(self, night: _Night) -> None:
        schedule = night.schedule
        for stage, built_at in night.built.items():
            self.publish(schedule.batch.name, stage, built_at)
        self.say_night(Happening.NIGHT_ENDED, schedule, night.slot)
        if schedule.waits and schedule.night is night and self.now < self.scenario.end:
            self.decide(schedule, schedule.waits)

    # Builds

    def queue(self, build: _Build) -> None:
        self.say(Happening.QUEUED, build)
        waiting = Waiting(
            now=self.now,
            turn=build.turn,
            priority=build.stage.priority,
            goals=self.goals(build.night.schedule.batch.name, build.stage.id),
        )
        entry = (self.ranking(waiting), next(self.numbers), build)
        heapq.heappush(self.queues[build.stage.queue], entry)

    def take_builds(self) -> None:
        for seat in self.seats:
            if not seat.build and seat.host.name not in self.away:
                self.take(seat)

    def take(self, seat: _Seat) -> None:
        """Start the build with the lowest rank in all queues of the host, if there is one."""
        waiting = [queue for name in seat.host.queues if (queue := self.queues[name])]
        if not waiting:
            return
        build = heapq.heappop(min(waiting, key=lambda queue: queue[0][:2]))[-1]
        seat.build = build
        self.say(Happening.STARTED, build, seat)
        ended = partial(self.end, seat, build, build.attempt)
        self.plan(self.now + build.takes_s, _END, ended)

    def end(self, seat: _Seat, build: _Build, attempt: int) -> None:
        if seat.build is not build or build.attempt != attempt:
            return  # it was lost meanwhile
        seat.build = None
        if build.fails:
            self.fail(build, seat)
            return
        self.say(Happening.SUCCEEDED, build, seat)
        build.night.built[build.stage.id] = self.now
        if build.night.schedule.batch.publish is Publish.BUILD:
            for stage, built_at in build.night.built.items():
                self.publish(build.night.schedule.batch.name, stage, built_at)
            build.night.built.clear()
        for follower in build.followers:
            self.queue(follower)
        self.count_off(build)

    def fail(self, build: _Build, seat: _Seat) -> None:
        """What starts from a build that failed is cancelled."""
        self.say(Happening.FAILED, build, seat)
        cancelled = list(build.followers)
        for follower in cancelled:
            self.say(Happening.CANCELLED, follower)
            cancelled += follower.followers
        for ended in (build, *cancelled):
            self.count_off(ended)

    def count_off(self, build: _Build) -> None:
        build.night.left -= 1
        if not build.night.left:
            self.end_night(build.night)

    def publish(self, batch: str, stage: str, built_at: float) -> None:
        """Unless a newer one is published, as where nights overlap."""
        if built_at > self.built_at[stage]:
            self.built_at[stage] = built_at
            self.happened.append(
                Event(at=self.now, what=Happening.PUBLISHED, batch=batch, stage=stage,
                      built_at=built_at)
            )  # fmt: skip

    # Hosts

    def lose(self, host: Host) -> None:
        self.away.add(host.name)
        self.happened.append(Event(at=self.now, what=Happening.HOST_LOST, host=host.name))
        for seat in self.seats:
            if seat.host is host and (build := seat.build):
                seat.build = None
                self.say(Happening.LOST, build, seat)
                if build.attempt == ATTEMPTS_MAX:
                    self.fail(build, seat)
                    continue
                build.attempt += 1
                self.plan(self.now + LEASE_S, _DUE, partial(self.queue, build))

    def come_back(self, host: Host) -> None:
        self.away.remove(host.name)
        self.happened.append(Event(at=self.now, what=Happening.HOST_BACK, host=host.name))

    # Telling

    def say(self, what: Happening, build: _Build, seat: _Seat | None = None) -> None:
        self.happened.append(
            Event(
                at=self.now,
                what=what,
                batch=build.night.schedule.batch.name,
                night=build.night.slot.seconds,
                stage=build.stage.id,
                attempt=build.attempt,
                host=seat.host.name if seat else "",
                slot=seat.number if seat else -1,
            )
        )

    def say_night(self, what: Happening, schedule: _Schedule, slot: Slot) -> None:
        self.happened.append(
            Event(at=self.now, what=what, batch=schedule.batch.name, night=slot.seconds)
        )


def needs_of(batch: Batch) -> dict[str, dict[str, float]]:
    """For each stage, what its build and those after it in its chain make, the stage itself first;
    and how long after the start of the build each is there, as expected."""
    followers: dict[str, list[Stage]] = defaultdict(list)
    for stage in batch.stages:
        followers[stage.after].append(stage)
    needs: dict[str, dict[str, float]] = {}
    for stage in reversed(batch.stages):
        needs[stage.id] = {stage.id: stage.takes_s}
        for follower in followers[stage.id]:
            after = needs[follower.id].items()
            needs[stage.id] |= {one: stage.takes_s + needs_s for one, needs_s in after}
    return needs
