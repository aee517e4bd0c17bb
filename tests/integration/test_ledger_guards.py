"""What the ledger's scripts keep out: strangers, late messages, leases that ran out.

`make mutants` takes the guards away one at a time; these are the tests that notice.
"""

from __future__ import annotations

from typing import Any

import pytest

from tasks.errors import BadInput
from tasks.ledger.answers import (
    BeginOutcome,
    CancelOutcome,
    ClaimedAttempt,
    ClaimOutcome,
    EndOutcome,
    Holder,
    RepeatOutcome,
    RequeueOutcome,
)
from tasks.ledger.builds import Ledger
from tasks.ledger.hosts import Hosts
from tasks.ledger.watch import Watch
from tasks.model import BuildState
from tasks.results import StepResult
from tests.ledgers import (
    ARTIFACT,
    ATTEMPTS,
    LONG_S,
    ONE,
    ONE_LATER,
    QUEUE,
    TWO,
    a_build,
    claimed,
    expire,
    expired,
    mark_resent,
    waiting,
)
from tests.waiting import eventually

pytestmark = pytest.mark.redis


# Fencing


def test_a_message_of_an_attempt_that_is_over_claims_nothing(ledger: Ledger) -> None:
    claim = claimed(ledger)
    assert ledger.hand_back(claim, "stop", ATTEMPTS).attempt == 2
    assert ledger.claim(claim, LONG_S) is ClaimOutcome.STALE, "attempt 2 waits for its own message"
    assert ledger.claim(ClaimedAttempt("b-1", 3, ONE), LONG_S) is ClaimOutcome.STALE
    assert ledger.record("b-1").state is BuildState.QUEUED
    assert ledger.claim(ClaimedAttempt("b-1", 2, TWO), LONG_S) is ClaimOutcome.CLAIMED


STRANGERS = {
    "an attempt before": ClaimedAttempt("b-1", 1, ONE),
    "an attempt to come": ClaimedAttempt("b-1", 3, ONE),
    "another host": ClaimedAttempt("b-1", 2, TWO),
    "an earlier worker of the host": ClaimedAttempt("b-1", 2, Holder("one", "zeroth")),
}


@pytest.fixture
def second(ledger: Ledger) -> ClaimedAttempt:
    """Attempt 2, held by `ONE`, whose source is made."""
    ledger.lose(claimed(ledger), "it died", ATTEMPTS)
    claim = ClaimedAttempt("b-1", 2, ONE)
    assert ledger.claim(claim, LONG_S) is ClaimOutcome.CLAIMED
    assert ledger.begin_step(claim, 0, "me") is BeginOutcome.RUN
    return claim


@pytest.mark.parametrize("who", STRANGERS.values(), ids=STRANGERS)
def test_only_the_holder_of_the_attempt_changes_it(
    ledger: Ledger, second: ClaimedAttempt, who: ClaimedAttempt
) -> None:
    before = ledger.record("b-1"), ledger.results("b-1", 2, 4)
    assert ledger.claim(who, LONG_S) is ClaimOutcome.STALE
    assert ledger.begin_step(who, 0, "me") is BeginOutcome.STALE
    assert ledger.end_step(who, 0, StepResult()) is EndOutcome.STALE
    assert ledger.allow_repeat(who, 0, "me") is RepeatOutcome.STALE
    assert ledger.finish(who, (ARTIFACT,), "file:///x") is EndOutcome.STALE
    assert ledger.fail(who, "HookFailed", "no", "") is EndOutcome.STALE
    assert ledger.cancelled(who) is EndOutcome.STALE
    assert (ledger.record("b-1"), ledger.results("b-1", 2, 4)) == before
    assert ledger.end_step(second, 0, StepResult()) is EndOutcome.OK


@pytest.mark.parametrize("who", STRANGERS.values(), ids=STRANGERS)
def test_only_the_holder_gives_an_attempt_up(
    ledger: Ledger, second: ClaimedAttempt, who: ClaimedAttempt
) -> None:
    before = ledger.record("b-1")
    ledger.lose(who, "it died", ATTEMPTS)
    ledger.hand_back(who, "stop", ATTEMPTS)
    assert ledger.record("b-1") == before


@pytest.mark.parametrize("who", ["an attempt before", "an attempt to come", "another host"])
def test_a_stranger_does_not_hear_that_a_build_succeeded(
    ledger: Ledger, second: ClaimedAttempt, who: str
) -> None:
    assert ledger.finish(second, (ARTIFACT,), "file:///x") is EndOutcome.OK
    assert ledger.finish(STRANGERS[who], (), "") is EndOutcome.STALE
    assert ledger.record("b-1").artifacts == (ARTIFACT,)


def test_an_ended_build_is_held_by_nobody(ledger: Ledger) -> None:
    claim = claimed(ledger)
    assert ledger.fail(claim, "HookFailed", "no", "") is EndOutcome.OK
    assert ledger.begin_step(claim, 0, "me") is BeginOutcome.STALE
    assert ledger.finish(claim, (ARTIFACT,), "file:///x") is EndOutcome.STALE
    assert ledger.claim(claim, LONG_S) is ClaimOutcome.STALE
    assert ledger.record("b-1").state is BuildState.FAILED


# Claims and leases


def test_a_claim_takes_the_build_from_those_that_wait(ledger: Ledger, client: Any) -> None:
    ledger.submit([a_build()])
    assert list(waiting(ledger)) == ["b-1"]
    ledger.refuse("b-1", 1, "two", "no disk")
    assert ledger.refusals("b-1")["two"][1] == "no disk"
    claimed(ledger)
    assert waiting(ledger) == {}
    assert ledger.refusals("b-1") == {}, "why it waited is of no interest any more"
    assert ledger.record("b-1").claimed == pytest.approx(ledger.now(), abs=60)
    assert client.smembers("t:host:one:builds") == {"b-1"}
    assert client.zscore("t:leases", "b-1") == pytest.approx(ledger.now() + LONG_S, abs=60)


def test_only_a_queued_attempt_is_refused_or_sent_again(ledger: Ledger, client: Any) -> None:
    claim = claimed(ledger)
    assert not ledger.refuse("b-1", 1, "two", "late")
    mark_resent(ledger, 1)
    assert (ledger.refusals("b-1"), waiting(ledger)) == ({}, {})
    ledger.hand_back(claim, "stop", ATTEMPTS)
    client.zadd(f"t:waiting:{QUEUE}", {"b-1": 1.0})
    ledger.refuse("b-1", 1, "two", "late")
    mark_resent(ledger, 1)
    assert (ledger.refusals("b-1"), waiting(ledger)) == ({}, {"b-1": 1.0})
    assert ledger.refuse("b-1", 2, "two", "now")
    mark_resent(ledger, 2)
    assert ledger.refusals("b-1")["two"] == (pytest.approx(ledger.now(), abs=60), "now")
    assert waiting(ledger)["b-1"] == pytest.approx(ledger.now(), abs=60)


def test_a_build_that_does_not_wait_is_not_made_to(ledger: Ledger, client: Any) -> None:
    ledger.submit([a_build()])
    client.zrem(f"t:waiting:{QUEUE}", "b-1")
    mark_resent(ledger, 1)
    assert waiting(ledger) == {}


@pytest.mark.parametrize("end", ["lose", "hand_back", "fail", "finish", "cancelled", "expire"])
def test_whoever_lets_go_of_a_build_holds_nothing(ledger: Ledger, client: Any, end: str) -> None:
    claim = claimed(ledger)
    if end == "lose":
        ledger.lose(claim, "it died", ATTEMPTS)
    elif end == "hand_back":
        ledger.hand_back(claim, "stop", ATTEMPTS)
    elif end == "fail":
        ledger.fail(claim, "HookFailed", "no", "")
    elif end == "finish":
        ledger.finish(claim, (), "")
    elif end == "cancelled":
        ledger.cancel("b-1", "enough")
        ledger.cancelled(claim)
    else:
        client.zadd("t:leases", {"b-1": 1.0})
        assert expire(ledger, "b-1").outcome is RequeueOutcome.QUEUED
    assert client.zscore("t:leases", "b-1") is None
    assert client.smembers("t:host:one:builds") == set()
    assert ledger.record("b-1").host == ("" if end in ("lose", "hand_back", "expire") else "one")


def test_a_lease_expires_only_when_it_has_run_out(ledger: Ledger, client: Any) -> None:
    claimed(ledger)
    assert expire(ledger, "b-1").outcome is RequeueOutcome.STALE
    assert expire(ledger, "b-1").attempt == 1
    assert expire(ledger, "b-9").outcome is RequeueOutcome.STALE, "there is no such build"
    client.zadd("t:leases", {"b-1": ledger.now() - 1})
    requeued = expire(ledger, "b-1")
    assert (requeued.outcome, requeued.attempt) == (RequeueOutcome.QUEUED, 2)
    (lost,) = ledger.attempts("b-1")
    assert (lost.how, lost.host) == ("lost", "one")
    assert "no heartbeat of one" in lost.reason


def test_a_build_that_does_not_run_loses_no_lease(ledger: Ledger, client: Any) -> None:
    ledger.fail(claimed(ledger), "HookFailed", "no", "")
    client.zadd("t:leases", {"b-1": 1.0})
    assert expire(ledger, "b-1").outcome is RequeueOutcome.STALE
    assert ledger.record("b-1").state is BuildState.FAILED


def test_a_heartbeat_tells_of_the_host_and_renews_only_its_own(ledger: Ledger, client: Any) -> None:
    hosts = Hosts(ledger.connection)
    hosts.register(ONE, ATTEMPTS, {"slots": 1})
    claim = claimed(ledger)
    claimed(ledger, a_build("b-2"), TWO)
    client.sadd("t:host:one:builds", "b-2", "b-gone")
    client.zadd("t:leases", {"b-1": 1.0, "b-2": 1.0})
    ledger.cancel("b-1", "enough")
    orders = hosts.renew_leases(ONE, LONG_S, {"slots": 3})
    assert [(lease.build, lease.cancel, lease.step) for lease in orders.leases] == [
        ("b-1", "enough", -1)
    ]
    assert orders.leases[0].claimed == pytest.approx(orders.now, abs=60)
    assert not orders.drained
    assert client.zscore("t:leases", "b-2") == 1.0
    assert client.zscore("t:leases", "b-1") == pytest.approx(orders.now + LONG_S, abs=60)
    (one,) = hosts.all()
    assert (one.name, one.slots, one.incarnation) == ("one", 3, "first")
    hosts.drain("one")
    assert ledger.begin_step(claim, 0, "me") is BeginOutcome.CANCELLED
    assert hosts.renew_leases(ONE, LONG_S, {}).drained
    assert hosts.all()[0].slots == 3, "a heartbeat that says nothing new changes nothing"


def test_a_heartbeat_keeps_a_host_on_the_list(ledger: Ledger, client: Any) -> None:
    hosts = Hosts(ledger.connection)
    hosts.register(ONE, ATTEMPTS, {"slots": 1})
    client.zadd("t:hosts", {"one": 1.0})
    assert not hosts.all()[0].alive(ledger.now(), LONG_S)
    orders = hosts.renew_leases(ONE, LONG_S, {})
    assert hosts.all()[0].alive(orders.now, LONG_S)
    client.delete("t:host:one")
    hosts.renew_leases(ONE, LONG_S, {"slots": 1})
    assert hosts.all()[0].incarnation == "first", "the entry is made anew"


def test_a_lease_says_how_far_the_build_is(ledger: Ledger) -> None:
    claim, hosts = claimed(ledger), Hosts(ledger.connection)

    def lease() -> tuple[int, str, bool]:
        (found,) = hosts.renew_leases(ONE, LONG_S, {}).leases
        return found.step, found.token, found.running

    assert lease() == (-1, "", False)
    ledger.begin_step(claim, 0, "me")
    assert lease() == (0, "me", True)
    ledger.end_step(claim, 0, StepResult())
    assert lease() == (0, "me", False)
    ledger.begin_step(claim, 1, "you")
    assert lease() == (1, "you", True)


def test_a_worker_that_starts_again_loses_only_what_its_host_held(
    ledger: Ledger, client: Any
) -> None:
    hosts = Hosts(ledger.connection)
    hosts.register(ONE, ATTEMPTS, {"slots": 1, "boot": "x"})
    claimed(ledger)
    claimed(ledger, a_build("b-2"), TWO)
    client.zadd("t:hosts", {"one": 1.0})
    (requeued,) = hosts.register(ONE_LATER, ATTEMPTS, {"slots": 2})
    assert (requeued.build, requeued.outcome) == ("b-1", RequeueOutcome.QUEUED)
    assert ledger.record("b-2").state is BuildState.RUNNING
    assert [attempt.how for attempt in ledger.attempts("b-1")] == ["lost"]
    (one,) = hosts.all()
    assert (one.slots, one.boot, one.incarnation) == (2, "", "second")
    assert one.alive(ledger.now(), LONG_S)
    assert one.since == pytest.approx(ledger.now(), abs=60)


# Cancel


@pytest.mark.parametrize("end", ["lose", "hand_back", "expire", "register"])
def test_a_build_to_be_cancelled_is_not_queued_again(ledger: Ledger, client: Any, end: str) -> None:
    claim = claimed(ledger)
    assert ledger.cancel("b-1", "enough") is CancelOutcome.ASKED
    if end == "lose":
        requeued = ledger.lose(claim, "it died", ATTEMPTS)
    elif end == "hand_back":
        requeued = ledger.hand_back(claim, "stop", ATTEMPTS)
    elif end == "register":
        (requeued,) = Hosts(ledger.connection).register(ONE_LATER, ATTEMPTS, {"slots": 1})
    else:
        client.zadd("t:leases", {"b-1": 1.0})
        requeued = expire(ledger, "b-1")
    assert (requeued.outcome, requeued.attempt) == (RequeueOutcome.CANCELLED, 1)
    record = ledger.record("b-1")
    assert (record.state, record.attempt) == (BuildState.CANCELLED, 1)
    (attempt,) = ledger.attempts("b-1")
    assert (attempt.how, attempt.reason) == ("cancelled", "enough")
    assert waiting(ledger) == {}


def test_what_can_be_cancelled(ledger: Ledger) -> None:
    ledger.submit([a_build("b-0"), a_build(after="b-0")])
    assert ledger.cancel("b-1", "enough") is CancelOutcome.CANCELLED, "it is blocked"
    with pytest.raises(BadInput, match="no build 'b-9'"):
        ledger.cancel("b-9", "enough")
    ledger.finish(claimed(ledger, a_build("b-0")), (), "")
    assert ledger.cancel("b-0", "enough") is CancelOutcome.ENDED
    assert ledger.record("b-0").state is BuildState.SUCCEEDED


# The watch


def test_only_one_supervisor_leads_and_only_for_a_while(ledger: Ledger, client: Any) -> None:
    leader, other = (Watch(ledger.connection, LONG_S, scan_s=10.0) for _ in range(2))
    assert (leader.look().leads, other.look().leads, leader.look().leads) == (True, False, True)
    assert 5_000 < client.pttl("t:leader") <= 20_000
    client.delete("t:leader")
    assert (other.look().leads, leader.look().leads) == (True, False)


def quiet_over(client: Any) -> None:
    client.hset("t:watch", "quiet", 1.0)


def test_nothing_expires_for_two_lease_lengths_after_a_time_without_a_watch(
    ledger: Ledger, client: Any
) -> None:
    claimed(ledger)
    client.zadd("t:leases", {"b-1": 1.0})
    watch = Watch(ledger.connection, LONG_S, scan_s=10.0)
    first = watch.look()
    assert (first.quiet_s, expired(first)) == (pytest.approx(2 * LONG_S, abs=60), [])
    assert watch.look().quiet_s <= first.quiet_s, "a look does not begin the time anew"
    quiet_over(client)
    assert expired(watch.look()) == ["b-1"]
    client.hset("t:watch", "last", ledger.now() - 40)
    assert expired(watch.look()) == [], "nobody looked for four scans"
    quiet_over(client)
    client.hset("t:watch", "run_id", "another server")
    assert expired(watch.look()) == [], "Redis was started anew"
    quiet_over(client)
    assert expired(watch.look()) == ["b-1"]
    client.hset("t:watch", "last", ledger.now() - 25)
    assert expired(watch.look()) == ["b-1"], "two scans were missed, which is nothing"


def test_only_leases_that_have_run_out_are_found(ledger: Ledger, client: Any) -> None:
    watch = Watch(ledger.connection, LONG_S, scan_s=10.0)
    watch.look()
    quiet_over(client)
    claimed(ledger)
    claimed(ledger, a_build("b-2"))
    now = ledger.now()
    client.zadd("t:leases", {"b-1": now - 1, "b-2": now + 60})
    look = watch.look()
    assert (look.leads, look.quiet_s, expired(look)) == (True, 0.0, ["b-1"])
    assert eventually(lambda: expired(watch.look()) == ["b-1"])
