"""Builds in a ledger, for tests of its scripts."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from tasks.ledger.answers import ClaimedAttempt, ClaimOutcome, Holder, Requeued
from tasks.ledger.builds import Ledger
from tasks.ledger.waiting import Late, Waiting
from tasks.ledger.watch import Look
from tasks.model import Build, BuildState
from tasks.results import Artifact
from tests.builds import any_build
from tests.farm import steps_of

ONE, TWO = Holder("one", "first"), Holder("two", "first")
ONE_LATER = Holder("one", "second")
QUEUE = "x86-64bit.generic_64"
ARTIFACT = Artifact(name="a.tar", path="/a.tar", size_bytes=1, sha256="ab")
LONG_S, ATTEMPTS = 90.0, 3


def a_build(name: str = "b-1", **changes: object) -> Build:
    return any_build(id=name, steps=steps_of(), **changes)


def claimed(ledger: Ledger, build: Build | None = None, holder: Holder = ONE) -> ClaimedAttempt:
    build = build or a_build()
    ledger.submit([build])
    claim = ClaimedAttempt(build.id, 1, holder)
    assert ledger.claim(claim, LONG_S) is ClaimOutcome.CLAIMED
    return claim


def counts(ledger: Ledger, batch: str = "night") -> dict[BuildState, int]:
    return ledger.summaries([batch])[0].counts


def events(client: Any, build: str = "b-1") -> list[tuple[str, str]]:
    found = [fields for _, fields in client.xrange("t:events") if fields["build"] == build]
    return [(fields["event"], fields["detail"]) for fields in found]


def waiting(ledger: Ledger, queue: str = QUEUE) -> dict[str, float]:
    """The queued builds of `queue`, and when the message of each was sent."""
    client = ledger.connection.client
    return dict(client.zrange(f"t:waiting:{queue}", 0, -1, withscores=True))


def mark_resent(ledger: Ledger, attempt: int, build: str = "b-1") -> None:
    Waiting(ledger.connection).mark_resent([Late(QUEUE, build, attempt)])


def retry(ledger: Ledger, build: str, **options: Any) -> int:
    return ledger.retry(build, uuid4().hex, **options)


def expire(ledger: Ledger, build: str, attempt: int = 1) -> Requeued:
    return ledger.expire(build, attempt, ATTEMPTS)


def expired(look: Look) -> list[str]:
    """The builds whose leases a look found to have run out."""
    return [build for build, _ in look.expired]
