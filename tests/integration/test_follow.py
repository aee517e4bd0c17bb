"""What `follow` reads of a large farm: everything once, and then what changed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import redis

from orchestrator.display import follow
from orchestrator.display.follow import PROGRESS_TICKS, Follower
from tasks.ledger.answers import BeginOutcome, ClaimedAttempt, ClaimOutcome, EndOutcome, Holder
from tasks.ledger.builds import Ledger
from tasks.ledger.logs import Logbook
from tasks.ledger.records import Record
from tasks.model import BuildState
from tasks.reporting import Progress
from tasks.settings import Settings
from tests.builds import any_build
from tests.farm import steps_of
from tests.redis_server import RedisServer

pytestmark = pytest.mark.redis

COUNT = 1000
ONE = Holder("one", "life")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path / "redis", appendonly=False)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def client(server: RedisServer) -> Iterator[redis.Redis]:
    with server.client() as client:
        yield client


@pytest.fixture
def ledger(server: RedisServer) -> Ledger:
    """A ledger of builds, each of which starts from what the one before makes."""
    ledger = Ledger.open(Settings(redis_url=server.url, key_prefix="t"))
    names = ["", *(f"b-{number:04}" for number in range(COUNT))]
    ledger.submit([any_build(id=b, after=a, steps=steps_of()) for a, b in pairwise(names)])
    return ledger


@pytest.fixture
def changes(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Record]]:
    """What one who follows them all is told from now on, a tick each."""
    monkeypatch.setattr(follow, "TICK_S", 0.0)
    follower = Follower(ledger, sorted(ledger.builds(0)))
    changes = follower.changes()
    assert len(next(changes)) == COUNT
    return changes


def claimed(ledger: Ledger) -> ClaimedAttempt:
    claim = ClaimedAttempt("b-0000", 1, ONE)
    assert ledger.claim(claim, 90.0) is ClaimOutcome.CLAIMED
    return claim


def states(changed: list[Record]) -> dict[str, BuildState]:
    return {record.id: record.state for record in changed}


def test_a_tick_without_changes_costs_a_handful_of_calls(
    changes: Iterator[list[Record]], client: redis.Redis
) -> None:
    client.config_resetstat()
    for _ in range(2 * PROGRESS_TICKS):
        assert next(changes) == []
    calls = {name: stat["calls"] for name, stat in client.info("commandstats").items()}
    assert sum(calls.values()) <= 6 * 2 * PROGRESS_TICKS, calls


def test_each_change_is_told_and_costs_what_changed(
    changes: Iterator[list[Record]], ledger: Ledger, client: redis.Redis
) -> None:
    next(changes)
    client.config_resetstat()
    claim = claimed(ledger)
    assert states(next(changes)) == {"b-0000": BuildState.RUNNING}
    assert ledger.begin_step(claim, 0, "me") is BeginOutcome.RUN
    assert [record.step for record in next(changes)] == [0]
    assert ledger.finish(claim, (), "file:///store") is EndOutcome.OK
    found = {"b-0000": BuildState.SUCCEEDED, "b-0001": BuildState.QUEUED}
    assert states(next(changes)) == found, "and what it released"
    assert client.info("commandstats")["cmdstat_hmget"]["calls"] < 50


def test_progress_is_told_too(changes: Iterator[list[Record]], ledger: Ledger) -> None:
    claimed(ledger)
    next(changes)
    Logbook(ledger.connection).set_progress("b-0000", Progress(what="unpacking", done=1))
    told = [record for _ in range(PROGRESS_TICKS) for record in next(changes)]
    assert [record.id for record in told] == ["b-0000"]
    assert "unpacking" in told[0].progress


def test_what_the_stream_does_not_hold_any_more_is_read(
    changes: Iterator[list[Record]], ledger: Ledger, client: redis.Redis
) -> None:
    next(changes)
    claimed(ledger)
    ledger.cancel("b-0001", "enough")
    client.xtrim("t:events", maxlen=1, approximate=False)
    told = states(next(changes))
    assert told["b-0000"] is BuildState.RUNNING
    assert told["b-0999"] is BuildState.CANCELLED


def test_it_ends_when_all_have_ended(changes: Iterator[list[Record]], ledger: Ledger) -> None:
    ledger.cancel("b-0000", "enough")
    assert len(list(changes)) == 1
