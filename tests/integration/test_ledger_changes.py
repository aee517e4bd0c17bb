"""What each change of a build leaves behind in the ledger, field by field."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tasks import __version__
from tasks.errors import BadInput
from tasks.ledger.answers import (
    BeginOutcome,
    ClaimedAttempt,
    EndOutcome,
    RepeatOutcome,
    RequeueOutcome,
)
from tasks.ledger.builds import Ledger
from tasks.ledger.logs import Logbook, Page
from tasks.model import BuildState
from tasks.reporting import Line, Progress
from tasks.results import Checkpoint, StepResult
from tests.ledgers import (
    ARTIFACT,
    ATTEMPTS,
    LONG_S,
    ONE,
    a_build,
    claimed,
    counts,
    retry,
    waiting,
)

pytestmark = pytest.mark.redis


# Steps


def test_a_step_whose_process_died_is_done_over_once(ledger: Ledger) -> None:
    claim = claimed(ledger)
    ledger.begin_step(claim, 0, "me")
    assert ledger.allow_repeat(claim, 0, "another") is RepeatOutcome.STALE
    assert ledger.allow_repeat(claim, 0, "me") is RepeatOutcome.OK
    assert ledger.begin_step(claim, 0, "another") is BeginOutcome.RUN
    assert ledger.begin_step(claim, 0, "me") is BeginOutcome.STALE
    assert ledger.allow_repeat(claim, 0, "another") is RepeatOutcome.SPENT
    assert ledger.begin_step(claim, 0, "another") is BeginOutcome.RUN, "it is still this one's"


def test_the_record_follows_the_steps(ledger: Ledger) -> None:
    claim = claimed(ledger)
    ledger.begin_step(claim, 0, "me")
    Logbook(ledger.connection).set_progress("b-1", Progress(what="unpack", done=1))
    record = ledger.record("b-1")
    assert (record.step, record.step_ended) == (0, 0.0)
    assert record.step_began == pytest.approx(ledger.now(), abs=60)
    assert record.progress
    ledger.end_step(claim, 0, StepResult())
    record = ledger.record("b-1")
    assert (record.step, record.progress) == (0, "")
    assert record.step_ended == pytest.approx(ledger.now(), abs=60)
    Logbook(ledger.connection).set_progress("b-1", Progress(what="late", done=1))
    ledger.begin_step(claim, 1, "me")
    record = ledger.record("b-1")
    assert (record.step, record.step_ended, record.progress) == (1, 0.0, "")
    (_, ended), (began, never) = ledger.step_times("b-1", 1, 2)
    assert (ended > 0, began > 0, never) == (True, True, 0.0)


def test_the_first_step_needs_none_before_it(ledger: Ledger) -> None:
    claim = claimed(ledger)
    assert ledger.begin_step(claim, 1, "me") is BeginOutcome.STALE
    assert ledger.begin_step(claim, 0, "me") is BeginOutcome.RUN


# Ends


def test_a_failure_says_why_and_where(ledger: Ledger) -> None:
    claim = claimed(ledger)
    ledger.begin_step(claim, 0, "me")
    Logbook(ledger.connection).set_progress("b-1", Progress(what="unpack", done=1))
    assert ledger.fail(claim, "HookFailed", "it broke", "mend it", "file:///f") is EndOutcome.OK
    record = ledger.record("b-1")
    assert (record.error, record.reason, record.hint, record.url) == (
        *("HookFailed", "it broke", "mend it", "file:///f"),
    )
    assert record.progress == ""
    assert record.ended == pytest.approx(ledger.now(), abs=60)
    (attempt,) = ledger.attempts("b-1")
    assert (attempt.how, attempt.host, attempt.step, attempt.reason) == (
        *("failed", "one", 0, "it broke"),
    )
    assert attempt.claimed == pytest.approx(ledger.now(), abs=60)
    assert attempt.ended == pytest.approx(ledger.now(), abs=60)


def test_success_shows_the_artifacts_and_nothing_of_earlier_failures(ledger: Ledger) -> None:
    ledger.fail(claimed(ledger), "HookFailed", "it broke", "mend it", "file:///f")
    retry(ledger, "b-1")
    claim = ClaimedAttempt("b-1", 2, ONE)
    ledger.claim(claim, LONG_S)
    assert ledger.finish(claim, (ARTIFACT,), "file:///x") is EndOutcome.OK
    record = ledger.record("b-1")
    assert (record.artifacts, record.url) == ((ARTIFACT,), "file:///x")
    assert (record.error, record.reason, record.hint) == ("", "", "")
    assert [attempt.how for attempt in ledger.attempts("b-1")] == ["failed", "succeeded"]


def test_a_retry_begins_as_if_new(ledger: Ledger) -> None:
    ledger.submit([a_build(batch="night")])
    for attempt in (1, 2):
        claim = ClaimedAttempt("b-1", attempt, ONE)
        ledger.claim(claim, LONG_S)
        assert ledger.lose(claim, "it died", 3).outcome is RequeueOutcome.QUEUED
    claim = ClaimedAttempt("b-1", 3, ONE)
    ledger.claim(claim, LONG_S)
    ledger.begin_step(claim, 0, "me")
    ledger.fail(claim, "HookFailed", "it broke", "mend it")
    assert counts(ledger) == {BuildState.FAILED: 1}
    assert retry(ledger, "b-1") == 4
    record = ledger.record("b-1")
    assert (record.error, record.reason, record.hint, record.cancel) == ("", "", "", "")
    assert (record.ended, record.step, record.host, record.claimed) == (0.0, -1, "", 0.0)
    assert (record.step_began, record.step_ended) == (0.0, 0.0)
    assert record.queued == pytest.approx(ledger.now(), abs=60)
    assert counts(ledger) == {BuildState.QUEUED: 1}
    assert list(waiting(ledger)) == ["b-1"]
    again = ClaimedAttempt("b-1", 4, ONE)
    ledger.claim(again, LONG_S)
    assert ledger.lose(again, "it died", 2).outcome is RequeueOutcome.QUEUED, "losses start over"


def test_a_cancelled_build_can_be_retried(ledger: Ledger) -> None:
    ledger.submit([a_build()])
    ledger.cancel("b-1", "enough")
    assert ledger.record("b-1").cancel == "enough"
    assert waiting(ledger) == {}
    retry(ledger, "b-1")
    claim = ClaimedAttempt("b-1", 2, ONE)
    ledger.claim(claim, LONG_S)
    assert ledger.begin_step(claim, 0, "me") is BeginOutcome.RUN


@pytest.mark.parametrize("state", ["queued", "running", "blocked"])
def test_what_has_not_ended_is_not_retried(ledger: Ledger, state: str) -> None:
    ledger.submit([a_build("b-0"), a_build(after="b-0" if state == "blocked" else "")])
    if state == "running":
        ledger.claim(ClaimedAttempt("b-1", 1, ONE), LONG_S)
    assert ledger.record("b-1").state == state
    with pytest.raises(BadInput, match="has not ended"):
        retry(ledger, "b-1")


def test_a_retry_may_change_the_build_and_its_queue(ledger: Ledger, client: Any) -> None:
    ledger.fail(claimed(ledger), "HookFailed", "no", "")
    assert client.hget("t:build:b-1", "version") == __version__
    client.hset("t:build:b-1", "version", "0.0")
    retry(ledger, "b-1", respecified=replace(a_build(), subarch="other", steps=()))
    assert ledger.build("b-1").subarch == "other"
    assert ledger.record("b-1").titles == ()
    assert client.sismember("t:queues", "x86-64bit.other")
    assert client.hget("t:build:b-1", "version") == __version__
    assert waiting(ledger) == {}
    assert list(waiting(ledger, "x86-64bit.other")) == ["b-1"]


def test_the_log_is_kept_for_a_week_after_the_end(ledger: Ledger, client: Any) -> None:
    claim = claimed(ledger)
    Logbook(ledger.connection).write(Page("b-1", 1, 0), [Line(text="x")], limit=10)
    assert client.ttl("t:build:b-1:log") == -1
    ledger.fail(claim, "HookFailed", "no", "")
    week_s = 7 * 24 * 3600
    assert week_s - 60 < client.ttl("t:build:b-1:log") <= week_s
    retry(ledger, "b-1")
    assert client.ttl("t:build:b-1:log") == -1


# Losses


def test_an_attempt_that_was_given_up_leaves_no_step_behind(ledger: Ledger) -> None:
    claim = claimed(ledger)
    ledger.begin_step(claim, 0, "me")
    ledger.end_step(claim, 0, StepResult())
    Logbook(ledger.connection).set_progress("b-1", Progress(what="late", done=1))
    ledger.hand_back(claim, "stop", ATTEMPTS)
    record = ledger.record("b-1")
    assert (record.step, record.step_began, record.step_ended) == (-1, 0.0, 0.0)
    assert (record.progress, record.host, record.claimed) == ("", "", 0.0)


def test_too_many_losses_fail_the_build_with_its_history(ledger: Ledger) -> None:
    ledger.submit([a_build(batch="night")])
    for attempt in range(1, 13):
        claim = ClaimedAttempt("b-1", attempt, ONE)
        ledger.claim(claim, LONG_S)
        if attempt == 2:
            ledger.hand_back(claim, "stop", 11)
        else:
            ledger.lose(claim, f"death {attempt}", 11)
    record = ledger.record("b-1")
    assert (record.state, record.error) == (BuildState.FAILED, "BuildFailed")
    assert "stagefarm retry" in record.hint
    told = [f"attempt {n} on one at no step: death {n}" for n in range(1, 13) if n != 2]
    assert record.reason == "lost 11 times: " + "; ".join(told)
    assert counts(ledger) == {BuildState.FAILED: 1}
    assert [attempt.how for attempt in ledger.attempts("b-1")][:3] == [
        "lost",
        "handed back",
        "lost",
    ]


# Checkpoints


def keep(ledger: Ledger, claim: ClaimedAttempt, step: int) -> Checkpoint:
    made = Checkpoint(
        attempt=claim.attempt, step=step, lineage="x", rootfs=ARTIFACT, workspace=ARTIFACT
    )
    for number in range(step + 1):
        ledger.begin_step(claim, number, "me")
        kept = made if number == step else None
        ledger.end_step(claim, number, StepResult(seed=f"s{number}", checkpoint=kept))
    return made


def test_only_the_steps_before_a_checkpoint_count_as_done(ledger: Ledger) -> None:
    claim = claimed(ledger)
    keep(ledger, claim, 1)
    ledger.begin_step(claim, 2, "me")
    ledger.end_step(claim, 2, StepResult(seed="s2"))
    assert ledger.lose(claim, "it died", ATTEMPTS).attempt == 2
    assert ledger.results("b-1", 2, 4) == {0: StepResult(seed="s0")}
    again = ClaimedAttempt("b-1", 2, ONE)
    ledger.claim(again, LONG_S)
    assert ledger.begin_step(again, 0, "a") is BeginOutcome.DONE
    assert ledger.begin_step(again, 1, "a") is BeginOutcome.RUN


def test_a_step_without_a_checkpoint_leaves_the_one_before(ledger: Ledger) -> None:
    claim = claimed(ledger)
    made = keep(ledger, claim, 0)
    ledger.begin_step(claim, 1, "me")
    ledger.end_step(claim, 1, StepResult())
    ledger.hand_back(claim, "stop", ATTEMPTS)
    resume = ledger.resume("b-1", 2)
    assert resume
    assert (resume.checkpoint, resume.asked) == (made, False)


def test_a_retry_from_the_beginning_leaves_checkpoints_behind(ledger: Ledger) -> None:
    claim = claimed(ledger)
    keep(ledger, claim, 0)
    ledger.fail(claim, "HookFailed", "no", "")
    retry(ledger, "b-1")
    again = ClaimedAttempt("b-1", 2, ONE)
    ledger.claim(again, LONG_S)
    assert ledger.begin_step(again, 0, "me") is BeginOutcome.RUN
    ledger.lose(again, "it died", ATTEMPTS)
    assert ledger.resume("b-1", 3) is None


def test_success_forgets_checkpoints_and_nothing_else(ledger: Ledger) -> None:
    claim = claimed(ledger)
    keep(ledger, claim, 1)
    ledger.finish(claim, (), "")
    assert ledger.checkpoints("b-1") == {}
    assert ledger.results("b-1", 1, 2) == {0: StepResult(seed="s0"), 1: StepResult()}
    assert ledger.begin_step(claim, 1, "me") is BeginOutcome.STALE
    retry(ledger, "b-1")
    again = ClaimedAttempt("b-1", 2, ONE)
    ledger.claim(again, LONG_S)
    ledger.lose(again, "it died", ATTEMPTS)
    assert ledger.resume("b-1", 3) is None
