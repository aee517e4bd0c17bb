"""What the ledger keeps of several builds: chains, batches, events, what is forgotten."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.errors import BadInput
from tasks.ledger.answers import (
    BeginOutcome,
    ClaimedAttempt,
    ClaimOutcome,
)
from tasks.ledger.builds import Ledger
from tasks.ledger.logs import Logbook, Page
from tasks.model import BuildState
from tasks.reporting import Line
from tasks.results import StepResult
from tests.ledgers import (
    ATTEMPTS,
    LONG_S,
    ONE,
    QUEUE,
    TWO,
    a_build,
    claimed,
    counts,
    events,
    retry,
    waiting,
)

pytestmark = pytest.mark.redis


# Builds that start from others


def followed(ledger: Ledger) -> ClaimedAttempt:
    """A build that runs, one that starts from it, and one that starts from that."""
    chain = [
        a_build("b-1", batch="night"),
        a_build("b-2", batch="night", after="b-1"),
        a_build("b-3", batch="night", after="b-2"),
    ]
    assert ledger.submit(chain) == []
    claim = ClaimedAttempt("b-1", 1, ONE)
    ledger.claim(claim, LONG_S)
    assert counts(ledger) == {BuildState.RUNNING: 1, BuildState.BLOCKED: 2}
    assert waiting(ledger) == {}
    return claim


def test_success_releases_those_that_start_from_it(ledger: Ledger) -> None:
    claim = followed(ledger)
    assert [record.id for record in ledger.followers("b-1")] == ["b-2"]
    assert ledger.claim(ClaimedAttempt("b-2", 1, ONE), LONG_S) is ClaimOutcome.STALE
    ledger.finish(claim, (), "")
    assert counts(ledger) == {
        BuildState.SUCCEEDED: 1,
        BuildState.QUEUED: 1,
        BuildState.BLOCKED: 1,
    }
    assert list(waiting(ledger)) == ["b-2"]
    assert ledger.claim(ClaimedAttempt("b-2", 1, ONE), LONG_S) is ClaimOutcome.CLAIMED


@pytest.mark.parametrize(("end", "how"), [("fail", "failed"), ("cancel", "was cancelled")])
def test_failure_cancels_those_that_start_from_it(ledger: Ledger, end: str, how: str) -> None:
    claim = followed(ledger)
    if end == "fail":
        ledger.fail(claim, "HookFailed", "no", "")
    else:
        ledger.cancel("b-1", "enough")
        ledger.cancelled(claim)
    second, third = ledger.records(["b-2", "b-3"])
    assert (second.state, third.state) == (BuildState.CANCELLED, BuildState.CANCELLED)
    assert second.cancel == f"b-1, which it starts from, {how}"
    assert third.cancel == "b-2, which it starts from, was cancelled"
    assert waiting(ledger) == {}
    with pytest.raises(BadInput, match="b-2 starts from the output of b-1"):
        retry(ledger, "b-2")
    retry(ledger, "b-1")
    assert retry(ledger, "b-2") == 2
    assert ledger.record("b-2").state is BuildState.BLOCKED


def test_a_follower_submitted_late_is_not_blocked(ledger: Ledger) -> None:
    ledger.finish(claimed(ledger), (), "")
    ledger.submit([a_build("b-2", after="b-1"), a_build("b-3", after="b-forgotten")])
    assert {record.state for record in ledger.records(["b-2", "b-3"])} == {BuildState.QUEUED}


def test_an_end_leaves_followers_that_run_alone(ledger: Ledger) -> None:
    ledger.finish(claimed(ledger), (), "")
    claim = claimed(ledger, a_build("b-2", after="b-1"))
    retry(ledger, "b-1")
    again = ClaimedAttempt("b-1", 2, TWO)
    ledger.claim(again, LONG_S)
    ledger.finish(again, (), "")
    assert ledger.record("b-2").state is BuildState.RUNNING
    assert ledger.begin_step(claim, 0, "me") is BeginOutcome.RUN


# Batches, events, forgetting


def test_a_batch_counts_every_move(ledger: Ledger) -> None:
    claim = claimed(ledger, a_build(batch="night"))
    assert counts(ledger) == {BuildState.RUNNING: 1}
    ledger.hand_back(claim, "stop", ATTEMPTS)
    assert counts(ledger) == {BuildState.QUEUED: 1}
    again = ClaimedAttempt("b-1", 2, ONE)
    ledger.claim(again, LONG_S)
    ledger.finish(again, (), "")
    assert counts(ledger) == {BuildState.SUCCEEDED: 1}


def test_a_build_of_no_batch_makes_none(ledger: Ledger, client: Any) -> None:
    ledger.finish(claimed(ledger), (), "")
    assert ledger.batches() == []
    assert not list(client.scan_iter("t:batch:*"))


def test_a_batch_is_dated_by_its_first_build(ledger: Ledger, client: Any) -> None:
    ledger.submit([a_build(batch="night")])
    client.zadd("t:batches", {"night": 1.0})
    ledger.submit([a_build("b-2", batch="night")])
    assert ledger.summaries(["night"])[0].submitted == 1.0
    assert ledger.batch("night") == ["b-1", "b-2"]


def test_a_submitted_build_has_all_that_was_said_of_it(ledger: Ledger) -> None:
    ledger.submit([a_build(batch="night", variant="musl", optional=True, after="b-0")])
    record = ledger.record("b-1")
    assert (record.batch, record.variant, record.optional, record.after) == (
        *("night", "musl", True, "b-0"),
    )
    assert (record.job, record.queue, record.attempt, len(record.titles)) == ("job", QUEUE, 1, 3)
    assert record.submitted == pytest.approx(ledger.now(), abs=60)
    assert ledger.builds() == ["b-1"]


def test_every_change_is_an_event(ledger: Ledger, client: Any) -> None:
    claim = claimed(ledger)
    ledger.begin_step(claim, 0, "me")
    ledger.allow_repeat(claim, 0, "me")
    ledger.begin_step(claim, 0, "you")
    ledger.end_step(claim, 0, StepResult())
    ledger.hand_back(claim, "stop", ATTEMPTS)
    again = ClaimedAttempt("b-1", 2, TWO)
    ledger.claim(again, LONG_S)
    ledger.cancel("b-1", "enough")
    ledger.cancelled(again)
    retry(ledger, "b-1")
    assert events(client) == [
        ("queued", QUEUE),
        ("claimed", "one"),
        *[("began", "0"), ("repeated", "0"), ("began", "0"), ("stepped", "0")],
        ("handed back", "stop"),
        ("claimed", "two"),
        *[("cancel", "enough"), ("cancelled", "enough")],
        ("queued", "retry"),
    ]


def test_only_what_ended_long_ago_is_forgotten(ledger: Ledger, client: Any) -> None:
    claim = claimed(ledger, a_build(batch="night"))
    ledger.submit([a_build("b-2", batch="night", after="b-1"), a_build("b-3")])
    ledger.refuse("b-3", 1, "two", "no disk")
    Logbook(ledger.connection).write(Page("b-1", 1, 0), [Line(text="x")], limit=10)
    ledger.begin_step(claim, 0, "me")
    ledger.fail(claim, "HookFailed", "no", "")
    ledger.cancel("b-3", "enough")
    old = ledger.now() - 1000
    client.zadd("t:builds", {"b-1": old, "b-2": old, "b-3": old})
    assert ledger.forget(100) == 0, "they were submitted long ago and ended just now"
    client.zadd("t:ended", {"b-1": old, "b-3": old})
    assert ledger.forget(2000) == 0
    assert ledger.forget(100) == 2
    assert ledger.builds() == ["b-2"]
    assert ledger.batch("night") == ["b-2"]
    assert not list(client.scan_iter("t:build:b-1*")) + list(client.scan_iter("t:build:b-3*"))
    client.zadd("t:ended", {"b-2": old})
    assert ledger.forget(100) == 1
    assert not list(client.scan_iter("t:batch*"))
    assert not list(client.scan_iter("t:build*"))


def test_a_build_that_was_retried_is_not_forgotten(ledger: Ledger, client: Any) -> None:
    ledger.fail(claimed(ledger), "HookFailed", "no", "")
    retry(ledger, "b-1")
    assert ledger.forget(-100) == 0
    assert ledger.knows("b-1")


def test_times_are_those_of_redis(ledger: Ledger) -> None:
    before = ledger.now()
    ledger.submit([a_build()])
    assert before - 0.001 <= ledger.record("b-1").submitted <= ledger.now() + 0.001
