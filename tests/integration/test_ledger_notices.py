"""What became of incidents is in the ledger with its messages or not at all, and once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tasks.ledger.builds import Ledger
from tasks.ledger.notices import ENDED_AT_ONCE, Notes, Notices
from tests.ledgers import a_build, claimed

pytestmark = pytest.mark.redis

FIRST = Notes(known="k1", stages={"a": "1", "b": "2"}, incidents={"i": "3"}, outbox={"1": "m"})


@pytest.fixture
def notices(ledger: Ledger) -> Notices:
    return Notices(ledger.connection)


def test_what_is_noted_is_read_again(notices: Notices) -> None:
    assert notices.read() == Notes()
    assert notices.version() == ""
    version = notices.write(Notes(), FIRST)
    assert version == notices.version()
    assert notices.read() == replace(FIRST, version=version)


def test_what_is_gone_is_removed_and_the_rest_stays(notices: Notices, client: Any) -> None:
    before = replace(FIRST, version=notices.write(Notes(), FIRST))
    after = replace(before, known="k2", stages={"a": "1", "b": "9", "c": "4"}, incidents={})
    client.hset("t:notify:stages", "untouched", "by changes")
    version = notices.write(before, after)
    stages = {**after.stages, "untouched": "by changes"}
    assert notices.read() == replace(after, version=version, stages=stages)


def test_of_two_that_have_read_the_same_one_notes_what_follows(notices: Notices) -> None:
    before = replace(FIRST, version=notices.write(Notes(), FIRST))
    one = notices.write(before, replace(before, outbox={"1": "m", "2": "mine"}))
    assert one
    other = replace(before, known="k3", stages={}, outbox={"1": "m", "2": "other"})
    assert notices.write(before, other) == ""
    found = notices.read()
    assert (found.version, found.known, found.outbox) == (one, "k1", {"1": "m", "2": "mine"})
    assert notices.write(Notes(), other) == "", "nor one that has read nothing"


def test_what_the_gate_holds(ledger: Ledger, notices: Notices) -> None:
    for number in (1, 2, 3):
        claim = claimed(ledger, a_build(f"b-{number}"))
        ledger.note_gate(claim.build, "held" * (number != 3))
        if number != 2:
            ledger.finish(claim, (), "file:///x")
    assert notices.held(["b-1", "b-2", "b-3", "forgotten"]) == {"b-1"}
    assert notices.held([]) == set()


def test_a_delivery_goes_forward_only(notices: Notices, client: Any) -> None:
    assert notices.note_delivery("m", 9, "nine")
    assert notices.note_delivery("m", 10, "ten")
    assert notices.note_delivery("m", 10, "ten, again")
    assert not notices.note_delivery("m", 9, "late")
    assert notices.targets() == {"m": "ten, again"}
    client.hset("t:notify:targets", "broken", "{}")
    assert notices.note_delivery("broken", 1, "well")
    notices.forget_target("m")
    assert notices.targets() == {"broken": "well"}


def test_the_builds_that_ended_in_their_order(
    ledger: Ledger, notices: Notices, client: Any
) -> None:
    claim = claimed(ledger)
    assert notices.ended(0) == []
    ledger.fail(claim, "HookFailed", "no", "")
    ((build, at),) = notices.ended(0)
    assert build == "b-1"
    assert at == pytest.approx(ledger.now(), abs=60)
    assert notices.ended(at) == [("b-1", at)]
    assert notices.ended(at + 0.01) == []
    client.zadd("t:ended", {f"x{n:04}": n for n in range(ENDED_AT_ONCE)})
    assert len(notices.ended(0)) == ENDED_AT_ONCE
    assert notices.ended(0, ENDED_AT_ONCE) == [("b-1", at)]
