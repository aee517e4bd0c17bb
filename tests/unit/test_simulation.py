"""Nights played through: what happens when, in small cases counted by hand and in any others."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime
from itertools import groupby

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.formats.batchfile import Line, Overlap
from orchestrator.formats.scenariofile import Publish
from orchestrator.simulation.engine import needs_of, play
from orchestrator.simulation.figures import Figures, Tally
from orchestrator.simulation.model import (
    ATTEMPTS_MAX,
    LEASE_S,
    Batch,
    Event,
    Happening,
    Host,
    Outage,
    Scenario,
    Stage,
)
from orchestrator.simulation.policies import (
    RANKINGS,
    Goal,
    Policy,
    Waiting,
    by_least_slack,
)
from tasks.ledger.order import PATIENCE_S

H, DAY = 3600.0, 86400.0
BEGIN = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
Q, R = "x86-64bit.generic_64", "arm-64bit.generic"
MIDNIGHT = Line(cron="0 0 * * *")
ENDS = (Happening.SUCCEEDED, Happening.FAILED, Happening.CANCELLED)


def stage(name: str, hours: float = 1, **more: object) -> Stage:
    return Stage(**{"id": name, "queue": Q, "takes_s": hours * H, **more})  # type: ignore[arg-type]


def batch(*stages: Stage, name: str = "nightly", line: Line = MIDNIGHT, **more: Publish) -> Batch:
    return Batch(name=name, lines=(line,), stages=stages, **more)


def scenario(*batches: Batch, hosts: tuple[Host, ...] = (), days: float = 1) -> Scenario:
    one = (Host(name="one", queues=(Q,)),)
    return Scenario(begin=BEGIN, end=BEGIN + days * DAY, hosts=hosts or one, batches=batches)


def events(found: Scenario, policy: Policy = Policy.FIFO) -> list[Event]:
    return list(play(found, RANKINGS[policy]))


def figures(found: Scenario, policy: Policy = Policy.FIFO) -> Figures:
    tally = Tally(found)
    for event in events(found, policy):
        tally.add(event)
    return tally.figures()


def told(found: list[Event], *kinds: Happening) -> list[tuple[float, str, str]]:
    """Hours since the beginning, what happened, and to which stage, or else batch or host."""
    return [
        (round((one.at - BEGIN) / H, 9), str(one.what), one.stage or one.batch or one.host)
        for one in found
        if one.what in kinds or not kinds
    ]


def whens(found: list[Event], what: Happening) -> dict[str, list[float]]:
    """When it happened to each stage, in hours."""
    times = defaultdict(list)
    for hours, _, name in told(found, what):
        times[name].append(hours)
    return times


# By hand


def test_all_that_happens_in_a_night() -> None:
    found = events(scenario(batch(stage("base"), stage("full", 2, after="base"), stage("alone"))))
    assert told(found) == [
        (0, "night made", "nightly"),
        (0, "queued", "base"),
        (0, "queued", "alone"),
        (0, "started", "base"),
        (1, "succeeded", "base"),
        (1, "published", "base"),
        (1, "queued", "full"),
        (1, "started", "alone"),
        (2, "succeeded", "alone"),
        (2, "published", "alone"),
        (2, "started", "full"),
        (4, "succeeded", "full"),
        (4, "published", "full"),
        (4, "night ended", "nightly"),
    ]


def test_what_starts_from_a_build_that_failed_is_cancelled() -> None:
    chain = (stage("a", fails=1.0), stage("b", after="a"), stage("c", after="b"), stage("d"))
    found = events(scenario(batch(*chain)))
    assert told(found, *ENDS, Happening.NIGHT_ENDED) == [
        (1, "failed", "a"),
        (1, "cancelled", "b"),
        (1, "cancelled", "c"),
        (2, "succeeded", "d"),
        (2, "night ended", "nightly"),
    ]


def test_a_host_with_two_slots_builds_two_at_once_and_serves_only_its_queues() -> None:
    hosts = (Host(name="two", queues=(Q,), slots=2), Host(name="arm", queues=(R,)))
    stages = (stage("a", 3), stage("b"), stage("c"), stage("d", 5, queue=R), stage("e", queue=R))
    found = events(scenario(batch(*stages), hosts=hosts))
    assert [
        (one.stage, one.host, one.slot, (one.at - BEGIN) / H)
        for one in found
        if one.what is Happening.STARTED
    ] == [("a", "two", 0, 0), ("b", "two", 1, 0), ("d", "arm", 0, 0), ("c", "two", 1, 1),
          ("e", "arm", 0, 5)]  # fmt: skip


def test_a_build_of_a_lost_host_is_built_by_another_once_its_lease_is_over() -> None:
    hosts = (
        Host(name="one", queues=(Q,), outages=(Outage(at=BEGIN + 2 * H, lasts_s=4 * H),)),
        Host(name="two", queues=(Q,)),
    )
    found = events(scenario(batch(stage("a", 3), stage("b", 1), stage("c", 2)), hosts=hosts))
    assert told(found, Happening.STARTED, Happening.LOST, Happening.HOST_BACK) == [
        (0, "started", "a"),
        (0, "started", "b"),
        (1, "started", "c"),
        (2, "lost", "a"),
        (3, "started", "a"),
        (6, "host back", "one"),
    ]
    assert whens(found, Happening.QUEUED)["a"] == [0, 2 + LEASE_S / H]
    assert whens(found, Happening.SUCCEEDED)["a"] == [6]


def test_a_build_that_is_lost_too_often_has_failed() -> None:
    outages = tuple(Outage(at=BEGIN + (n + 0.5) * H, lasts_s=60) for n in range(ATTEMPTS_MAX))
    host = Host(name="one", queues=(Q,), outages=outages)
    found = events(scenario(batch(stage("a", 2), stage("b", after="a")), hosts=(host,)))
    assert told(found, Happening.LOST, *ENDS, Happening.NIGHT_ENDED) == [
        (0.5, "lost", "a"),
        (1.5, "lost", "a"),
        (2.5, "lost", "a"),
        (2.5, "failed", "a"),
        (2.5, "cancelled", "b"),
        (2.5, "night ended", "nightly"),
    ]


@pytest.mark.parametrize(
    ("overlap", "expected"),
    [
        (Overlap.SKIP, [(0, "made"), (24, "skipped"), (48, "made"), (72, "skipped")]),
        (
            Overlap.WAIT,
            [(0, "made"), (24, "waits"), (30, "made"), (48, "waits"), (60, "made"), (72, "waits"),
             (90, "made")],
        ),
        (Overlap.ALLOW, [(0, "made"), (24, "made"), (48, "made"), (72, "made")]),
    ],
)  # fmt: skip
def test_nights_overlap_as_their_schedule_says(
    overlap: Overlap, expected: list[tuple[float, str]]
) -> None:
    line = Line(cron="0 0 * * *", overlap=overlap)
    found = events(scenario(batch(stage("a", 30), line=line), days=4))
    kinds = (Happening.NIGHT_MADE, Happening.NIGHT_WAITS, Happening.NIGHT_SKIPPED)
    shown = [(hours, what.removeprefix("night ")) for hours, what, _ in told(found, *kinds)]
    assert shown == expected


def test_of_nights_that_wait_the_newest_is_made() -> None:
    line = Line(cron="0 0 * * *", overlap=Overlap.WAIT)
    found = events(scenario(batch(stage("a", 60), line=line), days=3))
    kinds = (Happening.NIGHT_MADE, Happening.NIGHT_WAITS, Happening.NIGHT_SKIPPED)
    assert [(hours, what, one.night) for one in found if one.what in kinds
            for hours, what, _ in told([one])] == [
        (0, "night made", BEGIN),
        (24, "night waits", BEGIN + DAY),
        (48, "night skipped", BEGIN + DAY),
        (48, "night waits", BEGIN + 2 * DAY),
        (60, "night made", BEGIN + 2 * DAY),
    ]  # fmt: skip


def test_a_build_that_ends_at_a_moment_has_ended_for_all_else_of_that_moment() -> None:
    """The next night is not skipped, and the host that is lost then loses nothing."""
    host = Host(name="one", queues=(Q,), outages=(Outage(at=BEGIN + 48 * H, lasts_s=H),))
    found = events(scenario(batch(stage("a", 24)), hosts=(host,), days=3))
    assert told(found, Happening.NIGHT_SKIPPED, Happening.LOST) == []
    assert whens(found, Happening.STARTED) == {"a": [0, 24, 49]}


def test_a_night_that_waits_after_the_end_is_not_made() -> None:
    line = Line(cron="0 0 * * *", overlap=Overlap.WAIT)
    found = events(scenario(batch(stage("a", 30), line=line), days=1.1))
    assert told(found, Happening.NIGHT_MADE, Happening.NIGHT_WAITS) == [
        (0, "night made", "nightly"),
        (24, "night waits", "nightly"),
    ]


def test_a_night_waits_for_the_end_of_the_last_one() -> None:
    lines = (MIDNIGHT, Line(cron="0 6 * * *", overlap=Overlap.ALLOW),
             Line(cron="0 12 * * *", overlap=Overlap.WAIT))  # fmt: skip
    hosts = (Host(name="two", queues=(Q,), slots=2),)
    one = Batch(name="nightly", lines=lines, stages=(stage("a", 14),))
    found = events(scenario(one, hosts=hosts))
    kinds = (Happening.NIGHT_MADE, Happening.NIGHT_WAITS, Happening.NIGHT_ENDED)
    assert [told([one])[0][:2] for one in found if one.what in kinds] == [
        (0, "night made"),
        (6, "night made"),
        (12, "night waits"),
        (14, "night ended"),
        (20, "night ended"),
        (20, "night made"),
        (34, "night ended"),
    ]


def test_a_night_comes_once_when_the_clock_changes() -> None:
    """In Berlin, 02:30 is left out on 29 March 2026, and comes twice on 25 October."""
    found = Scenario(
        begin=datetime(2026, 3, 28, tzinfo=UTC).timestamp(),
        end=datetime(2026, 10, 27, tzinfo=UTC).timestamp(),
        hosts=(Host(name="one", queues=(Q,)),),
        batches=(batch(stage("a"), line=Line(cron="30 2 * * *", timezone="Europe/Berlin")),),
    )
    made = [
        f"{datetime.fromtimestamp(one.at, UTC):%m-%d %H:%M}"
        for one in events(found)
        if one.what is Happening.NIGHT_MADE
    ]
    assert made[:3] == ["03-28 01:30", "03-29 01:00", "03-30 00:30"]
    assert made[-3:] == ["10-24 00:30", "10-25 00:30", "10-26 01:30"]
    assert len(made) == 213


def test_a_night_is_published_with_its_last_build() -> None:
    stages = (stage("a", fails=1.0), stage("b"), stage("c"))
    found = events(scenario(batch(*stages, publish=Publish.NIGHT)))
    published = [(one.at, one.stage, one.built_at) for one in found
                 if one.what is Happening.PUBLISHED]  # fmt: skip
    assert published == [
        (BEGIN + 3 * H, "b", BEGIN + 2 * H),
        (BEGIN + 3 * H, "c", BEGIN + 3 * H),
    ]


def test_a_stage_of_two_batches_is_one_stage_and_is_never_published_older() -> None:
    hosts = (Host(name="two", queues=(Q,), slots=2),)
    slow = batch(stage("b", 3), stage("a", 1), publish=Publish.NIGHT)
    fix = batch(stage("a", 1), name="fix", line=Line(cron="30 1 * * *"))
    found = events(scenario(slow, fix, hosts=hosts))
    assert whens(found, Happening.SUCCEEDED) == {"a": [1, 2.5], "b": [3]}
    assert whens(found, Happening.PUBLISHED) == {"a": [2.5], "b": [3]}


# Figures


def test_ages_are_counted_from_the_end_of_the_build() -> None:
    """Builds end at 2 and 26 hours; the first of them replaces what was built at 0. So the ages are
    0 to 2, 0 to 24, and 0 to 22 hours."""
    found = figures(scenario(batch(stage("a", 2, max_age_s=18 * H)), days=2))
    assert found.ages.in_contract == 1 - (6 + 4) / 48
    assert (found.ages.contracts, found.ages.broken) == (1, ("a",))
    assert found.ages.worst_s == 24 * H
    # 3 lives below 2 hours, 2 up to 22: 6 + 2 * 9 hours are half of 48.
    assert found.ages.median_s == 11 * H
    assert (found.nights, found.makespan.count, found.makespan.worst_s) == (2, 2, 2 * H)
    assert (found.busy, found.hosts) == (4 / 48, {"one": 4 / 48})


def test_what_is_published_late_was_old_already() -> None:
    stages = (stage("a", 1, max_age_s=2 * H), stage("b", 4))
    found = figures(scenario(batch(*stages, publish=Publish.NIGHT)))
    assert found.ages.worst_s == 23 * H
    # `a` is 0 to 5 hours old, then 4 to 23: in contract for 2 of 24 hours.
    assert found.ages.in_contract == pytest.approx(2 / 24)


def test_what_is_published_after_the_end_makes_nothing_younger() -> None:
    found = figures(scenario(batch(stage("a", 30))))
    assert (found.ages.worst_s, found.ages.median_s, found.busy) == (24 * H, 12 * H, 1.0)


def test_stages_without_a_contract_break_none() -> None:
    found = figures(scenario(batch(stage("a"))))
    assert (found.ages.in_contract, found.ages.contracts, found.ages.broken) == (None, 0, ())


def test_builds_of_the_highest_priority_are_the_urgent_ones() -> None:
    fix = batch(stage("fix", priority=5), name="fix", line=Line(cron="0 1 * * *"))
    found = figures(scenario(batch(stage("a", 3), stage("b", 3)), fix))
    assert (found.urgent.count, found.urgent.worst_s) == (1, 2 * H)
    assert figures(scenario(batch(stage("a", 3)))).urgent.count == 0


def test_an_urgent_build_waits_once_also_if_it_is_lost() -> None:
    host = Host(name="one", queues=(Q,), outages=(Outage(at=BEGIN + 1.5 * H, lasts_s=H),))
    fix = batch(stage("fix", 2, priority=5), name="fix")
    found = figures(scenario(batch(stage("a", 1)), fix, hosts=(host,)))
    assert found.builds["lost"] == 1
    assert (found.urgent.count, found.urgent.worst_s) == (1, 0)


def test_a_host_is_busy_while_it_is_there_and_until_the_end() -> None:
    """It is lost from 1 to 13 hours, and builds from 0 to 1 and from 13 to 24, and on."""
    outage = Outage(at=BEGIN + H, lasts_s=12 * H)
    hosts = (Host(name="one", queues=(Q,), outages=(outage,)),)
    found = figures(scenario(batch(stage("a", 20)), hosts=hosts))
    assert (found.busy, found.builds["lost"], found.makespan.worst_s) == (1.0, 1, 33 * H)


# Policies


def waiting(**changes: object) -> Waiting:
    goals = (Goal(built_at=BEGIN, max_age_s=DAY, needs_s=2 * H),)
    given = {"now": BEGIN, "turn": BEGIN, "priority": 0, "goals": goals, **changes}
    return Waiting(**given)  # type: ignore[arg-type]


def test_slack_counts_to_the_first_contract_of_the_chain() -> None:
    assert by_least_slack(waiting())[0] == BEGIN + 22 * H
    goals = (
        Goal(built_at=BEGIN, max_age_s=0, needs_s=H),
        Goal(built_at=BEGIN, max_age_s=DAY, needs_s=3 * H),
        Goal(built_at=BEGIN - 4 * H, max_age_s=DAY, needs_s=2 * H),
    )
    assert by_least_slack(waiting(goals=goals))[0] == BEGIN + 18 * H


def test_a_contract_that_is_broken_comes_in_turn() -> None:
    """So what nobody can keep does not hold up all others for ever."""
    assert by_least_slack(waiting(turn=BEGIN + 30 * H))[0] == BEGIN + 30 * H


@pytest.mark.parametrize(("priority", "steps"), [(0, 8), (-3, 8), (3, 5), (8, 0), (99, 0)])
def test_a_build_without_contract_waits_no_longer_than_its_patience(
    priority: int, steps: int
) -> None:
    goals = (Goal(built_at=BEGIN, max_age_s=0, needs_s=H),)
    assert by_least_slack(waiting(goals=goals, priority=priority))[0] == BEGIN + steps * PATIENCE_S


def test_with_a_contract_only_a_priority_hurries_a_build_more_than_that_does() -> None:
    goals = (Goal(built_at=BEGIN, max_age_s=99 * DAY, needs_s=DAY),)
    assert by_least_slack(waiting(goals=goals))[0] == BEGIN + 98 * DAY
    assert by_least_slack(waiting(goals=goals, priority=7))[0] == BEGIN + PATIENCE_S


def test_a_night_takes_its_turns_by_latest_start() -> None:
    """So of a night whose contracts are all broken, the one broken first is built first."""
    stages = (
        stage("a", max_age_s=3 * H),
        stage("b", max_age_s=2 * H),
        stage("c", max_age_s=H),
        stage("d", after="c", max_age_s=H),
    )
    late = Line(cron="0 12 * * *")
    found = events(scenario(batch(*stages, line=late)), Policy.LEAST_SLACK)
    order = [name for _, _, name in told(found, Happening.STARTED)]
    assert order == ["c", "b", "a", "d"]


def test_the_order_of_each_policy() -> None:
    """Of two that were queued while the host was busy, the weekly one first, two days ago."""
    busy = batch(stage("busy", 5), name="busy")
    weekly = batch(stage("weekly", max_age_s=14 * DAY), name="weekly", line=Line(cron="0 1 * * *"))
    daily = batch(stage("daily", max_age_s=2 * DAY), name="daily", line=Line(cron="0 2 * * *"))
    fix = batch(stage("fix", priority=8), name="fix", line=Line(cron="0 3 * * *"))
    found = scenario(busy, weekly, daily, fix)

    def order(policy: Policy) -> list[str]:
        return [name for _, _, name in told(events(found, policy), Happening.STARTED)]

    assert order(Policy.FIFO) == ["busy", "fix", "weekly", "daily"]
    assert order(Policy.STALEST) == ["busy", "fix", "weekly", "daily"]
    assert order(Policy.LEAST_SLACK) == ["busy", "fix", "daily", "weekly"]


@pytest.mark.parametrize(("slots", "expected"), [(1, "abfc"), (3, "abcf")])
def test_a_night_comes_by_turns(slots: int, expected: str) -> None:
    """Due at 8, its third build has its turn at 10 on one slot, at 8:40 on three; the hot fix at 9.
    All wait for a host that is busy from before to the evening."""
    busy = [
        batch(stage(f"busy{n}", 12), name=f"busy{n}", line=Line(cron="59 7 * * *"))
        for n in range(slots)
    ]
    stages = [stage(name, max_age_s=H) for name in "abc"]
    night = batch(*stages, line=Line(cron="0 8 * * *"))
    fix = batch(stage("f", priority=8), name="fix", line=Line(cron="0 9 * * *"))
    hosts = (Host(name="one", queues=(Q,), slots=slots),)
    found = events(scenario(*busy, night, fix, hosts=hosts), Policy.LEAST_SLACK)
    order = [name for _, _, name in told(found, Happening.STARTED)]
    assert "".join(order[slots:]) == expected


def test_what_a_chain_needs() -> None:
    chain = batch(stage("a", 1), stage("b", 2, after="a"), stage("c", 4, after="b"), stage("d", 8))
    assert needs_of(chain) == {
        "a": {"a": 1 * H, "b": 3 * H, "c": 7 * H},
        "b": {"b": 2 * H, "c": 6 * H},
        "c": {"c": 4 * H},
        "d": {"d": 8 * H},
    }
    assert list(needs_of(chain)["a"]) == ["a", "b", "c"]


# Whatever the farm


@st.composite
def stage_lists(draw: st.DrawFn) -> tuple[Stage, ...]:
    found: list[Stage] = []
    for number in range(draw(st.integers(1, 5))):
        found.append(
            stage(
                f"s{number}",
                draw(st.sampled_from([0.5, 2, 9])),
                queue=draw(st.sampled_from([Q, R])),
                after=draw(st.sampled_from(["", *(one.id for one in found)])),
                spread=draw(st.sampled_from([0.0, 0.5])),
                fails=draw(st.sampled_from([0.0, 0.3])),
                max_age_s=draw(st.sampled_from([0.0, 12 * H, 2 * DAY])),
                priority=draw(st.integers(0, 9)),
            )
        )
    return tuple(found)


batches = st.builds(
    lambda stages, line, publish: batch(*stages, line=line, publish=publish),
    stage_lists(),
    st.builds(
        Line,
        cron=st.sampled_from(["30 2 * * *", "0 */8 * * *"]),
        timezone=st.sampled_from(["UTC", "Europe/Berlin"]),
        overlap=st.sampled_from(Overlap),
    ),
    st.sampled_from(Publish),
)
outages = st.lists(
    st.tuples(st.integers(0, 9), st.floats(0.1, 23)), max_size=3, unique_by=lambda o: o[0]
)
hosts = st.lists(st.tuples(st.integers(1, 2), outages), min_size=1, max_size=3).map(
    lambda drawn: tuple(
        Host(
            name=f"h{number}",
            queues=(Q, R) if number == 0 else (Q,),
            slots=slots,
            outages=tuple(Outage(at=BEGIN + at * DAY, lasts_s=away * H) for at, away in lost),
        )
        for number, (slots, lost) in enumerate(drawn)
    )
)
scenarios = st.builds(
    lambda one, other, hosts, seed: Scenario(
        begin=BEGIN,
        end=BEGIN + 10 * DAY,
        hosts=hosts,
        batches=(one, Batch(name="other", lines=other.lines, stages=other.stages)),
        seed=seed,
    ),
    batches,
    batches,
    hosts,
    st.integers(0, 9),
)
policies = st.sampled_from(Policy)


@settings(max_examples=60, deadline=None)
@given(scenarios, policies)
def test_each_build_of_a_night_ends_once_after_the_one_it_starts_from(
    found: Scenario, policy: Policy
) -> None:
    happened = events(found, policy)
    after = {(one.name, s.id): s.after for one in found.batches for s in one.stages}
    nights = [(one.batch, one.night) for one in happened if one.what is Happening.NIGHT_MADE]
    ended: dict[tuple[str, int, str], Happening] = {}
    for event in happened:
        build = (event.batch, event.night, event.stage)
        if event.what in ENDS:
            assert build not in ended
            ended[build] = event.what
        if event.what is Happening.QUEUED and (parent := after[event.batch, event.stage]):
            assert ended[event.batch, event.night, parent] is Happening.SUCCEEDED
    assert set(ended) == {(name, night, s) for name, night in nights for b, s in after if b == name}
    assert len(nights) == len(set(nights))
    closed = [(one.batch, one.night) for one in happened if one.what is Happening.NIGHT_ENDED]
    assert sorted(closed) == sorted(nights)


@settings(max_examples=60, deadline=None)
@given(scenarios, policies)
def test_no_slot_builds_two_and_none_is_free_while_a_build_waits_for_it(
    found: Scenario, policy: Policy
) -> None:
    seats: dict[tuple[str, int], str] = {}
    away: set[str] = set()
    waits: dict[tuple[str, int, str], str] = {}
    queue_of = {(one.name, s.id): s.queue for one in found.batches for s in one.stages}
    happened = events(found, policy)
    assert [one.at for one in happened] == sorted(one.at for one in happened)
    for _, moment in groupby(happened, key=lambda one: one.at):
        for one in moment:
            build, seat = (one.batch, one.night, one.stage), (one.host, one.slot)
            match one.what:
                case Happening.QUEUED:
                    waits[build] = queue_of[one.batch, one.stage]
                case Happening.STARTED:
                    assert seat not in seats
                    assert one.host not in away
                    seats[seat] = one.stage
                    queue = waits.pop(build)
                    assert queue in next(h.queues for h in found.hosts if h.name == one.host)
                case Happening.SUCCEEDED | Happening.FAILED | Happening.LOST:
                    assert seats.pop(seat, one.stage) == one.stage
                case Happening.HOST_LOST:
                    away.add(one.host)
                case Happening.HOST_BACK:
                    away.remove(one.host)
        for host in found.hosts:
            free = host.slots - sum(name == host.name for name, _ in seats)
            if free and host.name not in away:
                assert not set(waits.values()) & set(host.queues)
    assert not seats
    assert not waits


@settings(max_examples=20, deadline=None)
@given(scenarios, policies)
def test_the_same_seed_gives_the_same_nights(found: Scenario, policy: Policy) -> None:
    assert events(found, policy) == events(found, policy)


def test_chance_does_not_depend_on_the_policy_but_on_the_seed() -> None:
    stages = [stage(f"s{n}", spread=0.5, fails=0.3) for n in range(9)]
    found = scenario(batch(*stages), days=3)

    def drawn(found: Scenario, policy: Policy) -> dict[tuple[str, int], tuple[float, Happening]]:
        began: dict[tuple[str, int], float] = {}
        times: dict[tuple[str, int], tuple[float, Happening]] = {}
        for one in events(found, policy):
            if one.what is Happening.STARTED:
                began[one.stage, one.night] = one.at
            elif one.what in ENDS:
                took = round(one.at - began[one.stage, one.night], 3)
                times[one.stage, one.night] = (took, one.what)
        return times

    first, *others = (drawn(found, policy) for policy in Policy)
    assert all(other == first for other in others)
    assert len({took for took, _ in first.values()}) == 27
    assert drawn(replace(found, seed=1), Policy.FIFO) != first
