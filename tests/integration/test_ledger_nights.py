"""A night is in the ledger with all its builds or not at all, and once."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.errors import StagefarmError
from tasks.ledger.builds import Ledger
from tasks.ledger.order import UNKNOWN_S, Order
from tasks.ledger.schedules import FOREVER, GONE_KEPT_S, Schedules, ScheduleState
from tasks.ledger.stages import LeftOut, Stages, StageState, Standing
from tasks.model import Build, BuildState, decode
from tests.ledgers import a_build, counts, events

pytestmark = pytest.mark.redis

NIGHT, SLOT = "night", 1_800_000_000


def builds(prefix: str = "b") -> list[Build]:
    one, two = a_build(f"{prefix}-1", batch=NIGHT), a_build(f"{prefix}-2", batch=NIGHT)
    return [one, a_build(f"{prefix}-3", batch=NIGHT, after=one.id), two]


def make(ledger: Ledger, slot: int = SLOT, night: str = NIGHT, prefix: str = "b") -> bool:
    made, signatures = builds(prefix), {f"{prefix}-1": "mine"}
    return Schedules(ledger.connection).make_night("nightly", slot, night, made, signatures)


def state(ledger: Ledger) -> ScheduleState:
    return Schedules(ledger.connection).state("nightly")


def test_a_night_is_made_with_all_its_builds(ledger: Ledger, client: Any) -> None:
    Schedules(ledger.connection).note("nightly", said="s", error="e", waits=SLOT)
    assert make(ledger)
    assert ledger.batch(NIGHT) == ["b-1", "b-3", "b-2"]
    assert ledger.batches() == [NIGHT]
    assert counts(ledger) == {BuildState.QUEUED: 2, BuildState.BLOCKED: 1}
    assert [ledger.build(build.id) for build in builds()] == builds()
    assert [ledger.signed(build)[1] for build in ("b-1", "b-2")] == ["mine", ""]
    assert events(client, "b-3") == [("blocked", "x86-64bit.generic_64")]
    found = state(ledger)
    assert (found.night, found.last, found.waits) == (NIGHT, SLOT, 0)
    assert (found.said, found.error) == ("", "")
    assert ledger.now() - found.made < 60


def test_a_night_has_the_orders_that_were_given(ledger: Ledger, client: Any) -> None:
    given = Order(flow="", cost_s=5.0, latest=2e9)
    (first, *_), schedules = builds(), Schedules(ledger.connection)
    assert schedules.make_night("nightly", SLOT, NIGHT, builds(), {}, {first.id: given})
    orders = [decode(client.hget(f"t:build:{name}", "order"), Order) for name in ("b-1", "b-2")]
    assert [order.cost_s for order in orders] == [5.0, UNKNOWN_S]
    assert {order.flow for order in orders} == {NIGHT}


def test_the_same_call_again_has_the_same_answer_and_changes_nothing(ledger: Ledger) -> None:
    assert [make(ledger), make(ledger)] == [True, True]
    assert len(ledger.batch(NIGHT)) == 3


@pytest.mark.parametrize(
    ("slot", "night"),
    [(SLOT, NIGHT), (SLOT, "other"), (SLOT - 1, "other"), (SLOT + 1, NIGHT), (0, NIGHT)],
)
def test_a_slot_or_a_night_that_was_made_is_not_made_again(
    ledger: Ledger, slot: int, night: str
) -> None:
    assert make(ledger)
    assert not make(ledger, slot, night, prefix="c")
    assert not ledger.knows("c-1")
    assert state(ledger).night == NIGHT


@pytest.mark.parametrize(("slot", "last"), [(SLOT + 1, SLOT + 1), (0, SLOT)])
def test_the_next_slot_is_made_and_one_by_hand_is_no_slot(
    ledger: Ledger, slot: int, last: int
) -> None:
    assert make(ledger)
    assert make(ledger, slot, "other", prefix="c")
    assert ledger.knows("c-1")
    assert (state(ledger).night, state(ledger).last) == ("other", last)


def test_a_schedule_is_listed_while_its_file_is_there_and_remembered_after(
    ledger: Ledger, client: Any
) -> None:
    schedules = Schedules(ledger.connection)
    assert (schedules.all(), schedules.find("nightly")) == ([], None)
    schedules.see("nightly", {"file": "/f", "batch": "b", "last": 5.5})
    schedules.see("a", {"file": "/a"})
    assert schedules.names() == ["a", "nightly"]
    expected = ScheduleState(name="nightly", file="/f", batch="b", last=5.5)
    assert schedules.find("nightly") == expected
    assert client.ttl("t:schedule:nightly") == -1
    schedules.lose("nightly")
    assert schedules.names() == ["a"]
    assert schedules.find("nightly") is None
    assert schedules.state("nightly") == expected
    assert GONE_KEPT_S - 60 < client.ttl("t:schedule:nightly") <= GONE_KEPT_S
    schedules.see("nightly", {"file": "/f"})
    assert client.ttl("t:schedule:nightly") == -1


def test_a_pause_ends_by_itself_or_by_a_person(ledger: Ledger) -> None:
    schedules = Schedules(ledger.connection)
    schedules.pause("nightly", 100.0)
    assert [state(ledger).is_paused(now) for now in (99.0, 100.0)] == [True, False]
    schedules.pause("nightly")
    assert state(ledger).paused == FOREVER
    schedules.note("nightly", last=50)
    schedules.resume("nightly", 70.0)
    assert (state(ledger).paused, state(ledger).last) == (0, 70)
    schedules.resume("nightly", 60.0)
    assert state(ledger).last == 70


def test_a_broken_record_is_one_clear_error(ledger: Ledger, client: Any) -> None:
    client.hset("t:schedule:nightly", "last", "soon")
    with pytest.raises(StagefarmError, match="record of schedule nightly is broken"):
        state(ledger)


def test_what_a_night_leaves_out_is_in_its_record(ledger: Ledger) -> None:
    schedules = Schedules(ledger.connection)
    built = StageState(name="a", build="b-1")
    gone = StageState(name="b", standing=Standing.UNCHANGED, said="the same")
    assert schedules.make_night("nightly", SLOT, NIGHT, builds(), {}, stages=(built, gone))
    (summary,) = ledger.summaries([NIGHT])
    assert summary.left_out == (LeftOut(stage="b", standing=Standing.UNCHANGED, said="the same"),)
    assert sum(summary.counts.values()) == 3
    assert Stages(ledger.connection).of("nightly") == {"a": built, "b": gone}


def test_a_night_without_builds_is_no_batch_and_made_once(ledger: Ledger) -> None:
    schedules = Schedules(ledger.connection)
    gone = StageState(name="b", standing=Standing.LEFT, said="it fails")
    assert schedules.make_night("nightly", SLOT, NIGHT, [], {}, stages=(gone,))
    assert not schedules.make_night("nightly", SLOT, NIGHT, [], {}, stages=(gone,))
    assert not make(ledger)
    found = state(ledger)
    assert (found.night, found.last) == ("", SLOT)
    assert found.said == "nothing was built: 1 left the rotation"
    assert ledger.batches() == []
