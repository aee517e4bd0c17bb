"""Second tries in the ledger: begun once, concluded once, and what that says of a host."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tasks.ledger.answers import ClaimedAttempt, ClaimOutcome, EndOutcome
from tasks.ledger.builds import Ledger
from tasks.ledger.hosts import Hosts
from tasks.ledger.second_tries import KEPT, SecondTries
from tasks.model import encode
from tasks.results import Blamed, Cause, SecondTry
from tests.ledgers import LONG_S, TWO, a_build, claimed, events

pytestmark = pytest.mark.redis

CAUSE = Cause(rule="r", kind="compiler", message="m", fingerprint="f1")


def failed(ledger: Ledger, build: str = "b-1") -> None:
    claim = claimed(ledger, a_build(build))
    assert ledger.fail(claim, "HookFailed", "exit 1", "", "url") is EndOutcome.OK


def note(outcome: Blamed, build: str = "b-1") -> SecondTry:
    return SecondTry(build=build, outcome=outcome, host="one", other="two")


def test_a_second_try_is_begun_once_and_only_of_what_failed(ledger: Ledger, client: Any) -> None:
    tries = SecondTries(ledger.connection)
    claim = claimed(ledger)
    again = replace(ledger.build("b-1"), not_by="key")
    assert tries.begin(again, "mine", 1) is None, "it has not failed"
    ledger.fail(claim, "HookFailed", "exit 1", "", cause=CAUSE)
    assert not tries.conclude(note(Blamed.STAGE), 1, most=1), "it was not begun"
    assert list(tries.pending(60.0, 10)) == ["b-1"]
    assert tries.begin(again, "mine", 2) is None, "another attempt"
    assert tries.begin(again, "mine", 1) == 2
    assert tries.begin(again, "mine", 1) == 2, "the same call repeated"
    assert (ledger.record("b-1").attempt, ledger.record("b-1").cause) == (2, None)
    assert ledger.attempts("b-1")[0].fingerprint == CAUSE.fingerprint
    assert ledger.signed("b-1") == (encode(again).decode(), "mine")
    assert list(tries.pending(60.0, 10)) == [], "it goes on"
    second = ClaimedAttempt("b-1", 2, TWO)
    assert ledger.claim(second, LONG_S) is ClaimOutcome.CLAIMED
    ledger.fail(second, "HookFailed", "exit 1", "")
    assert tries.begin(again, "mine", 2) is None, "it had its second try"
    assert list(tries.pending(60.0, 10)) == ["b-1"]
    assert not tries.conclude(note(Blamed.STAGE), 2, most=1), "of another attempt"
    assert list(tries.pending(60.0, 10)) == ["b-1"]
    assert not tries.conclude(note(Blamed.STAGE), 1, most=1)
    assert ("second try", "") in events(client)
    assert list(tries.pending(60.0, 10)) == []
    assert ledger.retry("b-1", "by a person") == 3
    assert (ledger.record("b-1").second_after, ledger.record("b-1").second_try) == (0, None)


def test_what_was_cancelled_has_no_second_try(ledger: Ledger) -> None:
    claim = claimed(ledger)
    ledger.cancel("b-1", "enough")
    ledger.cancelled(claim)
    assert SecondTries(ledger.connection).begin(ledger.build("b-1"), "", 1) is None


def test_a_host_is_drained_by_so_many_of_its_last_failures_that_passed_elsewhere(
    ledger: Ledger,
) -> None:
    tries, hosts = SecondTries(ledger.connection), Hosts(ledger.connection)
    drained = []
    outcomes = (Blamed.HOST, *[Blamed.STAGE] * KEPT, Blamed.HOST, Blamed.UNCLEAR, Blamed.HOST)
    for number, outcome in enumerate(outcomes):
        build = f"b-{number}"
        failed(ledger, build)
        tries.begin(ledger.build(build), "", 1)
        drained.append(tries.conclude(note(outcome, build), 1, most=2))
        tries.conclude(note(outcome, build), 1, most=2)  # the same call repeated
        other = replace(note(Blamed.HOST, build), other="three")
        assert not tries.conclude(other, 1, most=1), "it is noted once"
    assert drained == [False] * 8 + [True], "the first is no longer among the last five"
    (host,) = hosts.all()
    assert [one.build for one in host.second_tries] == ["b-8", "b-7", "b-6", "b-5", "b-4"]
    assert hosts.undrain("one")
    assert hosts.all() == []
    failed(ledger, "late")
    tries.begin(ledger.build("late"), "", 1)
    assert not tries.conclude(note(Blamed.HOST, "late"), 1, most=0), "0: no number does"
