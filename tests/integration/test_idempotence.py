"""Every script of the ledger, asked twice: a lost answer is asked for again and harms nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.resources import files

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
    Requeued,
    RequeueOutcome,
)
from tasks.ledger.builds import Ledger
from tasks.ledger.hosts import Hosts
from tasks.ledger.locks import PublishingLock
from tasks.ledger.notices import Notes, Notices
from tasks.ledger.schedules import Schedules
from tasks.ledger.second_tries import SecondTries
from tasks.ledger.waiting import Late, Waiting
from tasks.ledger.watch import Watch
from tasks.model import Build, BuildState, encode
from tasks.results import Artifact, Blamed, SecondTry, StepResult
from tasks.settings import Settings
from tests.asking_twice import AskingTwice
from tests.builds import any_build
from tests.farm import steps_of
from tests.redis_server import RedisServer

pytestmark = pytest.mark.redis

ONE, TWO, ANEW = Holder("one", "i-1"), Holder("two", "i-2"), Holder("one", "i-9")
FIRST = ClaimedAttempt("b-1", 1, ONE)
RESULT = StepResult(seed="s")
MADE = (Artifact(name="a.tar", path="/a.tar", size_bytes=1, sha256="ab"),)
LIMIT = 2
"""How often a build may be lost."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A ledger whose scripts are asked twice, and what these tests do with it often."""

    ledger: Ledger
    connection: AskingTwice
    hosts: Hosts

    def claimed(self, *, lease_s: float = 90.0, **changes: object) -> None:
        """Build b-1, in the hands of host one."""
        self.ledger.submit([a_build(**changes)])
        assert self.ledger.claim(FIRST, lease_s) is ClaimOutcome.CLAIMED

    def begun(self) -> None:
        self.claimed()
        assert self.ledger.begin_step(FIRST, 0, "me") is BeginOutcome.RUN

    def to_be_cancelled(self) -> None:
        self.claimed()
        assert self.ledger.cancel("b-1", "enough") is CancelOutcome.ASKED

    def failed(self) -> None:
        self.claimed()
        assert self.ledger.fail(FIRST, "HookFailed", "no", "") is EndOutcome.OK


@pytest.fixture
def asked(server: RedisServer) -> Iterator[Asked]:
    with server.client() as client:
        client.flushall()
    opened = Ledger.open(Settings(redis_url=server.url, key_prefix="t"))
    connection = AskingTwice(opened.connection)
    yield Asked(Ledger(connection), connection, Hosts(connection))
    connection.client.close()


def a_build(**changes: object) -> Build:
    return replace(any_build(id="b-1", steps=steps_of(), batch="night"), **changes)  # type: ignore[arg-type]


Case = Callable[[Asked], None]
CASES: dict[str, list[Case]] = {}
"""By the script that it is about: a case for each of its answers."""


def about(script: str) -> Callable[[Case], Case]:
    def add(case: Case) -> Case:
        CASES.setdefault(script, []).append(case)
        return case

    return add


# What a submitter asks


@about("submit")
def submitted(asked: Asked) -> None:
    assert asked.ledger.submit([a_build(), a_build(id="b-2", after="b-1")]) == []
    assert asked.ledger.batch("night") == ["b-1", "b-2"]


@about("submit")
def id_is_taken(asked: Asked) -> None:
    asked.ledger.submit([a_build()])
    assert asked.ledger.submit([a_build(job="other")]) == ["b-1"]


@about("note_incidents")
def incidents_noted(asked: Asked) -> None:
    notices = Notices(asked.connection)
    first = Notes(known="k", stages={"s": "1"}, outbox={"1": "m"})
    version = notices.write(Notes(), first)
    assert notices.read() == replace(first, version=version)


@about("note_incidents")
def another_was_quicker(asked: Asked) -> None:
    notices = Notices(asked.connection)
    assert notices.write(Notes(), Notes(outbox={"1": "m"}))
    assert notices.write(Notes(), Notes(outbox={"1": "other"})) == ""
    assert notices.read().outbox == {"1": "m"}


@about("note_delivery")
def delivery_noted(asked: Asked) -> None:
    notices = Notices(asked.connection)
    assert notices.note_delivery("mark", 10, "{}")
    assert not notices.note_delivery("mark", 9, "late")
    assert notices.targets() == {"mark": "{}"}


@about("note_delivery")
def target_forgotten(asked: Asked) -> None:
    notices = Notices(asked.connection)
    assert notices.note_delivery("mark", 10, "{}")
    notices.forget_target("mark")
    assert notices.targets() == {}


@about("make_night")
def night_made(asked: Asked) -> None:
    night = [a_build(), a_build(id="b-2", after="b-1")]
    schedules = Schedules(asked.connection)
    assert schedules.make_night("nightly", 7, "night", night, {})
    assert asked.ledger.batch("night") == ["b-1", "b-2"]
    assert not schedules.make_night("nightly", 7, "night", [a_build(id="b-3")], {})


@about("sign")
def signed(asked: Asked) -> None:
    before = encode(a_build()).decode()
    asked.ledger.submit([a_build()])
    assert asked.ledger.sign(before, a_build(priority=1), "[1]")
    assert not asked.ledger.sign(before, a_build(priority=2), "[2]")
    assert asked.ledger.signed("b-1") == (encode(a_build(priority=1)).decode(), "[1]")
    with pytest.raises(BadInput, match="no build"):
        asked.ledger.sign(before, a_build(id="b-9"), "[1]")


@about("sign")
def signed_by_another_meanwhile(asked: Asked) -> None:
    asked.ledger.submit([a_build()], {"b-1": "[1]"})
    assert not asked.ledger.sign(encode(a_build()).decode(), a_build(), "[2]")


@about("sign")
def changed_before_it_is_signed(asked: Asked) -> None:
    asked.ledger.submit([a_build()], {"b-1": "[]"})
    assert not asked.ledger.sign("{}", a_build(priority=1), "[1]")
    assert asked.ledger.unsigned() == ["b-1"]
    assert asked.ledger.sign(encode(a_build()).decode(), a_build(), "[1]")
    assert asked.ledger.unsigned() == []


@about("cancel")
def cancelled_at_once(asked: Asked) -> None:
    asked.ledger.submit([a_build(), a_build(id="b-2", after="b-1")])
    assert asked.ledger.cancel("b-1", "enough") is CancelOutcome.CANCELLED


@about("cancel")
def cancel_asked_of_the_host(asked: Asked) -> None:
    asked.to_be_cancelled()


@about("cancel")
def nothing_to_cancel(asked: Asked) -> None:
    asked.failed()
    assert asked.ledger.cancel("b-1", "enough") is CancelOutcome.ENDED
    with pytest.raises(BadInput, match="no build"):
        asked.ledger.cancel("b-9", "enough")


@about("retry")
def retried(asked: Asked) -> None:
    asked.failed()
    assert asked.ledger.retry("b-1", "r") == 2
    with pytest.raises(BadInput, match="has not ended"):
        asked.ledger.retry("b-1", "another")
    with pytest.raises(BadInput, match="no build"):
        asked.ledger.retry("b-9", "r")


@about("retry")
def retried_respecified(asked: Asked) -> None:
    asked.failed()
    assert asked.ledger.retry("b-1", "r", respecified=a_build(timeout_s=7.0)) == 2


@about("retry")
def retried_after_it_succeeded(asked: Asked) -> None:
    asked.claimed()
    asked.ledger.finish(FIRST, MADE, "file:///s")
    assert asked.ledger.retry("b-1", "r") == 2
    assert asked.ledger.artifacts("b-1") == MADE


@about("retry")
def retried_too_early(asked: Asked) -> None:
    asked.failed()
    asked.ledger.submit([a_build(id="b-2", after="b-1")])
    with pytest.raises(BadInput, match="starts from the output of b-1"):
        asked.ledger.retry("b-2", "r")


# What a host asks


@about("claim")
def claimed(asked: Asked) -> None:
    asked.claimed()


@about("claim")
def claim_refused_or_stale(asked: Asked) -> None:
    asked.ledger.submit([a_build()])
    asked.hosts.drain("one")
    assert asked.ledger.claim(FIRST, 90.0) is ClaimOutcome.REFUSED
    assert asked.ledger.claim(replace(FIRST, attempt=2), 90.0) is ClaimOutcome.STALE


@about("ranked_before")
def asked_what_comes_first(asked: Asked) -> None:
    first = a_build(id="b-0", batch="hot fix", priority=8)
    asked.ledger.submit([a_build(), first])
    assert asked.ledger.ranked_before(FIRST, 9) == [ClaimedAttempt("b-0", 1, ONE)]
    assert asked.ledger.ranked_before(replace(FIRST, attempt=2), 9) == []


@about("refuse")
def refused(asked: Asked) -> None:
    asked.ledger.submit([a_build()])
    asked.ledger.refuse("b-1", 1, "one", "it is drained")
    asked.ledger.refuse("b-1", 2, "two", "it is drained")
    assert list(asked.ledger.refusals("b-1")) == ["one"]


@about("begin_step")
def step_begun(asked: Asked) -> None:
    asked.begun()
    assert asked.ledger.begin_step(FIRST, 0, "another") is BeginOutcome.STALE
    asked.ledger.end_step(FIRST, 0, RESULT)
    assert asked.ledger.begin_step(FIRST, 0, "another") is BeginOutcome.DONE
    asked.ledger.cancel("b-1", "enough")
    assert asked.ledger.begin_step(FIRST, 1, "me") is BeginOutcome.CANCELLED


@about("end_step")
def step_ended(asked: Asked) -> None:
    asked.begun()
    assert asked.ledger.end_step(FIRST, 0, RESULT) is EndOutcome.OK
    elsewhere = replace(FIRST, holder=TWO)
    assert asked.ledger.end_step(elsewhere, 0, RESULT) is EndOutcome.STALE


@about("allow_repeat")
def repeated(asked: Asked) -> None:
    asked.begun()
    assert asked.ledger.allow_repeat(FIRST, 0, "another") is RepeatOutcome.STALE
    assert asked.ledger.allow_repeat(FIRST, 0, "me") is RepeatOutcome.OK
    assert asked.ledger.begin_step(FIRST, 0, "again") is BeginOutcome.RUN
    assert asked.ledger.allow_repeat(FIRST, 0, "again") is RepeatOutcome.SPENT


@about("finish")
def finished(asked: Asked) -> None:
    asked.claimed()
    asked.ledger.submit([a_build(id="b-2", after="b-1")])
    assert asked.ledger.finish(FIRST, (), "file:///s") is EndOutcome.OK
    assert asked.ledger.record("b-2").state is BuildState.QUEUED


@about("finish")
def not_to_be_finished(asked: Asked) -> None:
    asked.to_be_cancelled()
    assert asked.ledger.finish(FIRST, (), "file:///s") is EndOutcome.CANCELLED
    assert asked.ledger.finish(replace(FIRST, holder=TWO), (), "") is EndOutcome.STALE


@about("fail")
def failed(asked: Asked) -> None:
    asked.failed()
    assert asked.ledger.fail(replace(FIRST, holder=TWO), "E", "no", "") is EndOutcome.STALE


@about("fail")
def failed_while_to_be_cancelled(asked: Asked) -> None:
    asked.to_be_cancelled()
    assert asked.ledger.fail(FIRST, "HookFailed", "no", "") is EndOutcome.CANCELLED


@about("cancelled")
def cancelled(asked: Asked) -> None:
    asked.to_be_cancelled()
    assert asked.ledger.cancelled(FIRST) is EndOutcome.OK
    assert asked.ledger.cancelled(replace(FIRST, holder=TWO)) is EndOutcome.STALE


@about("end_attempt")
def lost_and_lost_again(asked: Asked) -> None:
    asked.claimed()
    assert asked.ledger.lose(FIRST, "gone", LIMIT) == queued(2)
    second = replace(FIRST, attempt=2)
    asked.ledger.claim(second, 90.0)
    assert asked.ledger.lose(second, "gone", LIMIT) == Requeued("b-1", RequeueOutcome.FAILED, 2)
    assert "lost 2 times" in asked.ledger.record("b-1").reason


@about("end_attempt")
def handed_back(asked: Asked) -> None:
    asked.claimed()
    assert asked.ledger.hand_back(FIRST, "stopped", LIMIT, from_start=True) == queued(2)
    elsewhere = replace(FIRST, holder=TWO)
    stale = Requeued("b-1", RequeueOutcome.STALE, 1)
    assert asked.ledger.hand_back(elsewhere, "stopped", LIMIT) == stale


@about("end_attempt")
def handed_back_while_to_be_cancelled(asked: Asked) -> None:
    asked.to_be_cancelled()
    became = asked.ledger.hand_back(FIRST, "stopped", LIMIT)
    assert became == Requeued("b-1", RequeueOutcome.CANCELLED, 1)


@about("end_attempt")
def handed_back_behind_what_is_retried(asked: Asked) -> None:
    """What it starts from is being built once more."""
    asked.ledger.submit([a_build(id="b-0")])
    before = ClaimedAttempt("b-0", 1, TWO)
    asked.ledger.claim(before, 90.0)
    asked.ledger.finish(before, (), "")
    asked.claimed(after="b-0")
    asked.ledger.retry("b-0", "r")
    became = asked.ledger.hand_back(FIRST, "stopped", LIMIT)
    assert became == Requeued("b-1", RequeueOutcome.BLOCKED, 2)


@about("register_host")
def registered(asked: Asked) -> None:
    assert asked.hosts.register(ONE, LIMIT, {"slots": 1}) == []
    asked.claimed()
    assert asked.hosts.register(ANEW, LIMIT, {"slots": 1}) == [queued(2)]


@about("renew_leases")
def leases_renewed(asked: Asked) -> None:
    asked.begun()
    (lease,) = asked.hosts.renew_leases(ONE, 90.0, {"slots": 1}).leases
    assert (lease.build, lease.token) == ("b-1", "me")


# What the supervisor asks


@about("hold")
@about("let_go")
def a_mirror_is_locked_by_one(asked: Asked) -> None:
    mine, other = (PublishingLock(asked.connection, "s3://b/m", 90.0) for _ in range(2))
    assert mine.hold()
    assert not other.hold()
    other.let_go()
    assert not other.hold(), "it is not theirs to end"
    mine.let_go()
    assert other.hold()


@about("scan")
def scanned(asked: Asked) -> None:
    asked.claimed(lease_s=0.0)
    watch = Watch(asked.connection, lease_s=90.0, scan_s=90.0)
    assert watch.look().leads
    asked.connection.client.hset("t:watch", "quiet", 0)
    assert watch.look().expired == (("b-1", 1),)
    assert not replace(watch, token="another").look().leads


@about("expire")
def expired(asked: Asked) -> None:
    asked.claimed(lease_s=0.0)
    assert asked.ledger.expire("b-1", 1, LIMIT) == queued(2)
    assert asked.ledger.expire("b-1", 2, LIMIT) == Requeued("b-1", RequeueOutcome.STALE, 2)


@about("expire")
def renewed_before_it_expired(asked: Asked) -> None:
    asked.claimed()
    assert asked.ledger.expire("b-1", 1, LIMIT) == Requeued("b-1", RequeueOutcome.STALE, 1)


@about("mark_resent")
def resent(asked: Asked) -> None:
    asked.ledger.submit([a_build()])
    late = [Late(a_build().queue, "b-1", attempt) for attempt in (1, 2)]
    assert Waiting(asked.connection).mark_resent(late) == late[:1]


@about("late")
def looked_for_late_ones(asked: Asked) -> None:
    asked.ledger.submit([a_build()])
    _, late = Waiting(asked.connection).late(-60.0, 10)
    assert late == [Late(a_build().queue, "b-1", 1)]


@about("conclude_second_try")
def concluded(asked: Asked) -> None:
    asked.claimed()
    asked.ledger.fail(FIRST, "HookFailed", "exit 1", "")
    tries = SecondTries(asked.connection)
    assert tries.begin(a_build(), "", 1) == 2
    note = SecondTry(build="b-1", outcome=Blamed.HOST, host="one", other="two")
    assert not tries.conclude(note, 1, most=2)
    assert asked.ledger.record("b-1").second_try == note


@about("note_gate")
def noted_by_the_gate(asked: Asked) -> None:
    asked.ledger.submit([a_build()])
    assert asked.ledger.note_gate("b-1", "1 finding")


@about("forget")
def forgotten(asked: Asked) -> None:
    asked.ledger.submit([a_build()])
    asked.ledger.cancel("b-1", "enough")
    assert asked.ledger.forget(-60.0) == 1


def queued(attempt: int) -> Requeued:
    return Requeued("b-1", RequeueOutcome.QUEUED, attempt)


def scripts() -> set[str]:
    found = files("tasks.ledger").joinpath("lua").iterdir()
    return {file.name.removesuffix(".lua") for file in found} - {"prelude"}


def test_every_script_has_a_case() -> None:
    assert set(CASES) == scripts()


@pytest.mark.parametrize(
    ("script", "case"),
    [
        pytest.param(script, case, id=f"{script}-{case.__name__}")
        for script, cases in CASES.items()
        for case in cases
    ],
)
def test_the_second_time_gives_the_same_answer_and_changes_nothing(
    asked: Asked, script: str, case: Case
) -> None:
    case(asked)
    assert script in asked.connection.asked


# What comes between an answer that was lost and the same question asked again


def test_the_end_of_an_attempt_is_answered_while_the_next_one_runs(asked: Asked) -> None:
    asked.begun()
    asked.ledger.end_step(FIRST, 0, RESULT)
    asked.ledger.lose(FIRST, "gone", LIMIT)
    asked.ledger.claim(ClaimedAttempt("b-1", 2, TWO), 0.0)
    assert asked.ledger.lose(FIRST, "gone", LIMIT) == queued(2)
    assert asked.ledger.end_step(FIRST, 0, RESULT) is EndOutcome.OK
    assert asked.ledger.lose(FIRST, "another reason", LIMIT).outcome is RequeueOutcome.STALE
    assert asked.ledger.hand_back(FIRST, "gone", LIMIT).outcome is RequeueOutcome.STALE
    assert asked.ledger.fail(FIRST, "HookFailed", "no", "") is EndOutcome.STALE
    assert asked.ledger.expire("b-1", 1, LIMIT).outcome is RequeueOutcome.STALE


def test_the_end_of_an_attempt_is_answered_to_its_holder_only(asked: Asked) -> None:
    asked.claimed()
    asked.ledger.lose(FIRST, "gone", LIMIT)
    for holder in (ANEW, Holder("two", ONE.incarnation)):
        other = replace(FIRST, holder=holder)
        assert asked.ledger.lose(other, "gone", LIMIT).outcome is RequeueOutcome.STALE


def test_a_build_stays_cancelled_for_the_step_that_failed(asked: Asked) -> None:
    asked.to_be_cancelled()
    assert asked.ledger.fail(FIRST, "HookFailed", "no", "") is EndOutcome.CANCELLED
    assert asked.ledger.cancelled(FIRST) is EndOutcome.OK
    assert asked.ledger.fail(FIRST, "HookFailed", "no", "") is EndOutcome.CANCELLED


def test_the_artifacts_of_an_attempt_stay_published_when_it_is_retried(asked: Asked) -> None:
    """A host that hears `stale` of its `finish` takes its artifacts out of the store."""
    asked.claimed()
    asked.ledger.finish(FIRST, (), "file:///s")
    asked.ledger.retry("b-1", "r")
    assert asked.ledger.finish(FIRST, (), "file:///s") is EndOutcome.OK
    assert asked.ledger.record("b-1").state is BuildState.QUEUED


def test_a_retry_that_has_ended_is_not_done_once_more(asked: Asked) -> None:
    asked.failed()
    assert asked.ledger.retry("b-1", "r") == 2
    asked.ledger.cancel("b-1", "enough")
    assert asked.ledger.retry("b-1", "r") == 2
    assert asked.ledger.record("b-1").state is BuildState.CANCELLED
    assert asked.ledger.retry("b-1", "another") == 3
