"""The protocol of the ledger, change by change, against a real Redis."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tasks.errors import BadInput, FarmUnreachable, HostUnfit
from tasks.ledger.answers import (
    BeginOutcome,
    CancelOutcome,
    ClaimedAttempt,
    ClaimOutcome,
    EndOutcome,
    Holder,
    RequeueOutcome,
    Resume,
)
from tasks.ledger.builds import Ledger
from tasks.ledger.connection import check_schema
from tasks.ledger.hosts import Hosts
from tasks.ledger.logs import Logbook, Page
from tasks.ledger.watch import Watch
from tasks.model import Build, BuildState
from tasks.reporting import Line
from tasks.results import Artifact, Checkpoint, StepResult
from tasks.settings import Settings
from tests.builds import any_build
from tests.farm import QUEUE, steps_of
from tests.redis_server import RedisServer
from tests.waiting import eventually

pytestmark = pytest.mark.redis

ONE, TWO = Holder("one", "life-1"), Holder("two", "life-2")
RESULT = StepResult(artifacts=(Artifact(name="a.tar", path="/a.tar", size_bytes=1, sha256="ab"),))


@pytest.fixture
def settings(server: RedisServer) -> Settings:
    with server.client() as client:
        client.flushall()
    return Settings(redis_url=server.url, key_prefix="t", lease_s=90.0)


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Ledger]:
    ledger = Ledger.open(settings)
    yield ledger
    ledger.connection.client.close()


def a_build(name: str = "b-1", batch: str = "") -> Build:
    return any_build(id=name, steps=steps_of(), batch=batch)


def claimed(ledger: Ledger, holder: Holder = ONE, lease_s: float = 90.0) -> ClaimedAttempt:
    ledger.submit([a_build()])
    claim = ClaimedAttempt("b-1", 1, holder)
    assert ledger.claim(claim, lease_s) is ClaimOutcome.CLAIMED
    return claim


def keys_left(ledger: Ledger) -> tuple[int, int]:
    client = ledger.connection.client
    return client.zcard("t:leases"), client.zcard("t:waiting:x86-64bit.generic_64")


def test_a_build_goes_through_its_steps_once(ledger: Ledger) -> None:
    claim = claimed(ledger)
    assert ledger.begin_step(claim, 0, "me") is BeginOutcome.RUN
    assert ledger.begin_step(claim, 0, "me") is BeginOutcome.RUN, "the same question, asked again"
    assert ledger.begin_step(claim, 0, "another") is BeginOutcome.STALE
    assert ledger.begin_step(claim, 1, "me") is BeginOutcome.STALE, "the step before has not ended"
    assert ledger.end_step(claim, 0, RESULT) is EndOutcome.OK
    assert ledger.begin_step(claim, 0, "another") is BeginOutcome.DONE
    assert ledger.begin_step(claim, 1, "me") is BeginOutcome.RUN
    assert ledger.results("b-1", 1, 2) == {0: RESULT}
    assert ledger.finish(claim, RESULT.artifacts, "file:///x") is EndOutcome.OK
    assert ledger.finish(claim, RESULT.artifacts, "file:///x") is EndOutcome.OK, "asked again"
    record = ledger.record("b-1")
    assert (record.state, record.artifacts) == (BuildState.SUCCEEDED, RESULT.artifacts)
    assert keys_left(ledger) == (0, 0)


def test_only_one_host_claims_a_build(ledger: Ledger) -> None:
    claimed(ledger, ONE)
    assert ledger.claim(ClaimedAttempt("b-1", 1, TWO), 90) is ClaimOutcome.STALE
    assert ledger.claim(ClaimedAttempt("b-1", 2, ONE), 90) is ClaimOutcome.STALE
    assert ledger.claim(ClaimedAttempt("b-1", 1, ONE), 90) is ClaimOutcome.CLAIMED, "asked again"
    assert ledger.claim(ClaimedAttempt("unknown", 1, ONE), 90) is ClaimOutcome.STALE


def test_another_incarnation_of_the_host_is_another_holder(ledger: Ledger) -> None:
    claimed(ledger, ONE)
    later = ClaimedAttempt("b-1", 1, Holder("one", "life-9"))
    assert ledger.begin_step(later, 0, "me") is BeginOutcome.STALE
    assert ledger.finish(later, (), "") is EndOutcome.STALE


def test_a_drained_host_is_refused(ledger: Ledger) -> None:
    hosts = Hosts(ledger.connection)
    ledger.submit([a_build()])
    assert hosts.drain("one")
    assert not hosts.drain("one")
    assert ledger.claim(ClaimedAttempt("b-1", 1, ONE), 90) is ClaimOutcome.REFUSED
    assert hosts.undrain("one")
    assert ledger.claim(ClaimedAttempt("b-1", 1, ONE), 90) is ClaimOutcome.CLAIMED


def test_lost_attempts_are_counted_and_told(ledger: Ledger) -> None:
    ledger.submit([a_build()])
    for attempt, outcome in (
        (1, RequeueOutcome.QUEUED),
        (2, RequeueOutcome.QUEUED),
        (3, RequeueOutcome.FAILED),
    ):
        claim = ClaimedAttempt("b-1", attempt, ONE)
        assert ledger.claim(claim, 90) is ClaimOutcome.CLAIMED
        ledger.begin_step(claim, 0, "me")
        assert ledger.lose(claim, f"death {attempt}", 3).outcome is outcome
        assert ledger.end_step(claim, 0, RESULT) is EndOutcome.STALE
    record = ledger.record("b-1")
    assert record.state is BuildState.FAILED
    assert record.reason == (
        "lost 3 times: attempt 1 on one at step 0: death 1; attempt 2 on one at step 0: death 2; "
        "attempt 3 on one at step 0: death 3"
    )
    assert [attempt.how for attempt in ledger.attempts("b-1")] == ["lost"] * 3
    assert keys_left(ledger) == (0, 0)


def test_handing_back_does_not_count_as_a_loss(ledger: Ledger) -> None:
    ledger.submit([a_build()])
    for attempt in range(1, 6):
        claim = ClaimedAttempt("b-1", attempt, ONE)
        assert ledger.claim(claim, 90) is ClaimOutcome.CLAIMED
        assert ledger.hand_back(claim, "stop", 3).outcome is RequeueOutcome.QUEUED
    assert ledger.record("b-1").attempt == 6


def test_a_queued_build_is_cancelled_at_once_and_a_running_one_by_its_host(ledger: Ledger) -> None:
    ledger.submit([a_build(), a_build("b-2")])
    assert ledger.cancel("b-2", "enough") is CancelOutcome.CANCELLED
    assert ledger.cancel("b-2", "too late") is CancelOutcome.ENDED
    claim = claimed(ledger)
    ledger.begin_step(claim, 0, "me")
    assert ledger.cancel("b-1", "enough") is CancelOutcome.ASKED
    assert ledger.end_step(claim, 0, RESULT) is EndOutcome.OK
    assert ledger.begin_step(claim, 1, "me") is BeginOutcome.CANCELLED
    assert ledger.finish(claim, (), "") is EndOutcome.CANCELLED
    assert ledger.fail(claim, "HookFailed", "x", "") is EndOutcome.CANCELLED
    assert ledger.cancelled(claim) is EndOutcome.OK
    assert ledger.record("b-1").state is BuildState.CANCELLED
    assert keys_left(ledger) == (0, 0)


def test_a_build_to_be_cancelled_whose_host_is_lost_is_cancelled(ledger: Ledger) -> None:
    claim = claimed(ledger)
    ledger.cancel("b-1", "enough")
    assert ledger.lose(claim, "gone", 3).outcome is RequeueOutcome.CANCELLED


def test_retry_queues_an_ended_build_as_its_next_attempt(ledger: Ledger) -> None:
    claim = claimed(ledger)
    with pytest.raises(BadInput, match="has not ended"):
        ledger.retry("b-1", "first")
    ledger.fail(claim, "HookFailed", "it broke", "")
    assert ledger.retry("b-1", "second") == 2
    record = ledger.record("b-1")
    assert (record.state, record.reason) == (BuildState.QUEUED, "")
    with pytest.raises(BadInput, match="no build 'b-9'"):
        ledger.retry("b-9", "third")


def test_a_retry_that_fails_has_nothing_of_the_attempt_that_succeeded(ledger: Ledger) -> None:
    ledger.finish(claimed(ledger), RESULT.artifacts, "file:///1")
    assert ledger.artifacts("b-1") == RESULT.artifacts
    for attempt in (2, 3):
        assert ledger.retry("b-1", f"request {attempt}") == attempt
        record = ledger.record("b-1")
        assert (record.artifacts, record.url) == ((), "")
        claim = ClaimedAttempt("b-1", attempt, TWO)
        ledger.claim(claim, 90)
        ledger.fail(claim, "HookFailed", "no", "", f"file:///{attempt}")
        record = ledger.record("b-1")
        assert (record.artifacts, record.url) == ((), f"file:///{attempt}")
        assert ledger.artifacts("b-1") == RESULT.artifacts, "a build that starts from it finds them"
    assert [attempt.url for attempt in ledger.attempts("b-1")] == [
        *("file:///1", "file:///2", "file:///3")
    ]


def test_a_build_that_is_unknown_has_made_nothing(ledger: Ledger) -> None:
    assert ledger.artifacts("b-9") == ()


def test_an_id_is_taken_only_by_another_build(ledger: Ledger) -> None:
    assert ledger.submit([a_build()]) == []
    assert ledger.submit([a_build()]) == [], "asked again"
    assert ledger.submit([a_build(batch="other")]) == ["b-1"]


def test_a_batch_counts_its_builds(ledger: Ledger) -> None:
    ledger.submit([a_build(f"b-{number}", batch="night") for number in range(3)])
    ledger.claim(ClaimedAttempt("b-0", 1, ONE), 90)
    ledger.cancel("b-1", "enough")
    counts = ledger.connection.client.hgetall("t:batch:night")
    assert {state: int(n) for state, n in counts.items() if n != "0"} == {
        "queued": 1,
        "running": 1,
        "cancelled": 1,
    }
    assert ledger.batch("night") == ["b-0", "b-1", "b-2"]


def test_a_beat_renews_leases_and_tells_what_is_held(ledger: Ledger) -> None:
    claim = claimed(ledger, lease_s=1)
    ledger.begin_step(claim, 0, "me")
    hosts = Hosts(ledger.connection)
    orders = hosts.renew_leases(ONE, 90, {"slots": 2})
    (held,) = orders.leases
    assert (held.build, held.attempt, held.step, held.token, held.running) == (
        *("b-1", 1, 0, "me"),
        True,
    )
    assert ledger.connection.client.zscore("t:leases", "b-1") > orders.now + 80
    assert hosts.renew_leases(Holder("one", "life-9"), 90, {}).leases == ()


def test_what_an_earlier_life_held_is_lost_when_the_worker_is_back(ledger: Ledger) -> None:
    claimed(ledger)
    (given,) = Hosts(ledger.connection).register(Holder("one", "life-9"), 3, {"slots": 1})
    assert (given.build, given.outcome, given.attempt) == ("b-1", RequeueOutcome.QUEUED, 2)


def test_the_watch_is_quiet_first_and_then_finds_what_expired(
    ledger: Ledger, settings: Settings
) -> None:
    claimed(ledger, lease_s=0)
    watch = Watch(ledger.connection, lease_s=0.05, scan_s=5.0)
    first = watch.look()
    assert first.leads
    assert first.quiet_s > 0
    assert first.expired == ()
    assert eventually(lambda: watch.look().expired == (("b-1", 1),))
    assert not Watch(ledger.connection, lease_s=0.05, scan_s=5.0).look().leads, "there is a leader"
    assert ledger.expire("b-1", 1, 3).outcome is RequeueOutcome.QUEUED
    assert ledger.expire("b-1", 2, 3).outcome is RequeueOutcome.STALE, "nobody holds it"


def test_a_renewed_lease_does_not_expire(ledger: Ledger) -> None:
    claimed(ledger, lease_s=90)
    assert ledger.expire("b-1", 1, 3).outcome is RequeueOutcome.STALE


def test_logs_keep_the_newest_lines(ledger: Ledger) -> None:
    book = Logbook(ledger.connection)
    lines = [Line(text=f"line {number}", hook="h") for number in range(1_000)]
    book.write(Page("b-1", 1, 0), lines, limit=200)
    kept = book.read("b-1")
    assert 200 <= len(kept) < 400
    assert kept[-1].line == lines[-1]
    assert book.read("b-1", after=kept[-2].id) == [kept[-1]]
    assert book.wait("b-1", kept[-1].id, 0.01) == []


def test_a_bundle_is_kept_as_it_is(ledger: Ledger) -> None:
    data = bytes(range(256))
    ledger.keep_context("digest", data)
    ledger.keep_context("digest", data)
    assert ledger.context("digest") == data
    assert ledger.context("other") is None


def test_builds_that_ended_long_ago_are_forgotten(ledger: Ledger) -> None:
    ledger.submit([a_build("b-1", batch="x"), a_build("b-2", batch="y"), a_build("b-3", batch="y")])
    ledger.cancel("b-1", "enough")
    ledger.cancel("b-2", "enough")
    assert ledger.forget(60) == 0
    assert ledger.forget(-60) == 2
    assert (ledger.builds(), ledger.batches(), ledger.batch("y")) == (["b-3"], ["y"], ["b-3"])
    assert not list(ledger.connection.client.scan_iter("t:build:b-1*"))


def test_ended_builds_are_forgotten_behind_any_number_that_wait(ledger: Ledger) -> None:
    ledger.submit([a_build(f"b-{number}") for number in range(300)])
    for number in range(150, 300):
        ledger.cancel(f"b-{number}", "enough")
    assert [ledger.forget(-60) for _ in range(3)] == [100, 50, 0]
    assert sorted(ledger.builds(0)) == sorted(f"b-{number}" for number in range(150))


def test_a_build_that_is_retried_is_not_forgotten(ledger: Ledger) -> None:
    ledger.submit([a_build()])
    ledger.cancel("b-1", "enough")
    ledger.retry("b-1", "request")
    moment = ledger.now() + 60
    assert ledger.forget(-60) == 0
    assert ledger.connection.script("forget", "b-1", moment) == 0
    ledger.cancel("b-1", "enough")
    assert ledger.connection.script("forget", "b-1", moment - 120) == 0, "it ended later"
    assert ledger.forget(-60) == 1


def test_nothing_is_left_of_what_is_forgotten(ledger: Ledger) -> None:
    ledger.submit([a_build("b-1", batch="x"), replace(a_build("b-2", batch="x"), after="b-1")])
    ledger.refuse("b-1", 1, "two", "it is drained")
    claim = ClaimedAttempt("b-1", 1, ONE)
    ledger.claim(claim, 90)
    ledger.begin_step(claim, 0, "me")
    Logbook(ledger.connection).write(Page("b-1", 1, 0), [Line(text="line")], limit=10)
    ledger.finish(claim, RESULT.artifacts, "file:///x")
    ledger.cancel("b-2", "enough")
    client = ledger.connection.client
    moment = ledger.now() + 60
    assert ledger.connection.script("forget", "b-2", moment) == 1
    assert ledger.followers("b-1") == []
    counts = client.hgetall("t:batch:x")
    assert {state for state, count in counts.items() if count != "0"} == {"succeeded"}
    assert ledger.forget(-60) == 1
    of_queue = f"t:waiting:{QUEUE}:"  # of its queue, and how long builds of the job took
    stays = {f"{of_queue}count", f"{of_queue}shares", f"t:successes:{QUEUE}:job:"}
    assert set(client.scan_iter("t:*")) == {"t:schema", "t:queues", "t:events", *stays}
    assert client.ttl(f"t:successes:{QUEUE}:job:") > 0


def test_a_ledger_of_another_schema_is_left_alone(settings: Settings, ledger: Ledger) -> None:
    ledger.connection.client.set("t:schema", "99")
    with pytest.raises(HostUnfit, match="has schema 99"):
        check_schema(ledger.connection)


def test_no_redis_is_one_clear_error_without_the_password() -> None:
    url = "redis://user:secret@127.0.0.1:1/0"
    with pytest.raises(FarmUnreachable, match=r"Redis at 127.0.0.1:1 does not answer") as caught:
        Ledger.open(Settings(redis_url=url))
    assert "secret" not in str(caught.value)


# Checkpoints


def kept(ledger: Ledger, claim: ClaimedAttempt, step: int = 1) -> Checkpoint:
    """A checkpoint after `step`, made by the attempt of `turn`."""
    (artifact,) = RESULT.artifacts
    made = Checkpoint(
        attempt=claim.attempt, step=step, lineage="x", rootfs=artifact, workspace=artifact
    )
    for number in range(step + 1):
        ledger.begin_step(claim, number, "me")
        result = StepResult(seed="s") if number < step else StepResult(checkpoint=made)
        assert ledger.end_step(claim, number, result) is EndOutcome.OK
    return made


def test_the_next_attempt_goes_on_from_the_newest_checkpoint(ledger: Ledger) -> None:
    claim = claimed(ledger)
    made = kept(ledger, claim)
    assert ledger.resume("b-1", 1) is None
    assert ledger.lose(claim, "it died", 3).attempt == 2
    again = ClaimedAttempt("b-1", 2, TWO)
    assert ledger.claim(again, 90) is ClaimOutcome.CLAIMED
    assert ledger.begin_step(again, 0, "a") is BeginOutcome.DONE
    assert ledger.begin_step(again, 1, "b") is BeginOutcome.RUN, "it is restored"
    assert ledger.resume("b-1", 2) == Resume(made, asked=False)
    assert ledger.results("b-1", 2, 2) == {0: StepResult(seed="s")}


def test_a_checkpoint_of_an_attempt_that_is_over_does_not_count(ledger: Ledger) -> None:
    claim = claimed(ledger)
    ledger.begin_step(claim, 0, "me")
    ledger.lose(claim, "cut off", 3)
    (artifact,) = RESULT.artifacts
    late = Checkpoint(attempt=1, step=0, lineage="x", rootfs=artifact, workspace=artifact)
    assert ledger.end_step(claim, 0, StepResult(checkpoint=late)) is EndOutcome.STALE
    assert ledger.checkpoints("b-1") == {}
    assert ledger.resume("b-1", 2) is None


def test_an_attempt_can_be_given_back_to_begin_anew(ledger: Ledger) -> None:
    claim = claimed(ledger)
    kept(ledger, claim)
    assert ledger.hand_back(claim, "its checkpoint is broken", 3, from_start=True).attempt == 2
    assert ledger.resume("b-1", 2) is None
    again = ClaimedAttempt("b-1", 2, TWO)
    ledger.claim(again, 90)
    assert ledger.begin_step(again, 0, "a") is BeginOutcome.RUN


def test_a_build_is_retried_from_where_it_was_asked_to_be_and_mended(ledger: Ledger) -> None:
    claim = claimed(ledger)
    made = kept(ledger, claim)
    assert ledger.fail(claim, "HookFailed", "no", "") is EndOutcome.OK
    mended = replace(a_build(), timeout_s=7.0)
    assert ledger.retry("b-1", "request", point="1.1", respecified=mended) == 2
    assert ledger.resume("b-1", 2) == Resume(made, asked=True)
    assert ledger.build("b-1").timeout_s == 7.0
    again = ClaimedAttempt("b-1", 2, TWO)
    ledger.claim(again, 90)
    assert ledger.lose(again, "it died before it was restored", 3).attempt == 3
    assert ledger.resume("b-1", 3) == Resume(made, asked=False)


def test_a_build_that_succeeded_has_no_checkpoints(ledger: Ledger) -> None:
    claim = claimed(ledger)
    kept(ledger, claim)
    assert ledger.finish(claim, RESULT.artifacts, "file:///s") is EndOutcome.OK
    assert ledger.checkpoints("b-1") == {}
    assert ledger.results("b-1", 1, 1)[0].seed == "s"
