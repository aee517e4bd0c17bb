"""The agent of a host, in this process, against a real Redis."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.host.locks import try_lock_folder
from tasks.ledger.answers import BeginOutcome, ClaimedAttempt, ClaimOutcome, Holder
from tasks.ledger.builds import Ledger
from tasks.ledger.hosts import Hosts
from tasks.model import BuildState
from tasks.rootfs.workspace import Workspace
from tasks.settings import Settings
from tasks.worker.agent import Agent, Worker
from tests.farm import Farm
from tests.redis_server import RedisServer
from tests.waiting import eventually

pytestmark = pytest.mark.redis


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Farm]:
    farm = Farm(tmp_path, Path("/seed.tar"), RedisServer(tmp_path / "redis"))
    farm.redis.start()
    yield farm
    farm.end()


def agent_of(settings: Settings, holder: Holder, busy: threading.Event) -> Agent:
    """An agent whose looks take until `busy` is set."""

    def wait() -> set[tuple[str, int]]:
        busy.wait()
        return set()

    worker = Worker((), 1, wait, lambda *_: None, lambda _: None)
    return Agent(settings, Ledger.open(settings), holder, worker)


def test_a_step_whose_folder_is_locked_is_not_taken_for_dead(farm: Farm) -> None:
    """What the pool's processes do is told by Celery, which may be late."""
    settings, holder = farm.settings_of("one"), Holder("one", "life-1")
    (build,) = farm.submit(farm.build())
    told = threading.Event()
    told.set()
    agent = agent_of(settings, holder, told)
    agent.arrive()
    claim = ClaimedAttempt(build.id, 1, holder)
    assert farm.ledger.claim(claim, 90.0) is ClaimOutcome.CLAIMED
    home = Workspace.home_on_farm(build.id, 1, settings)
    home.mkdir(parents=True)
    with try_lock_folder(home):
        assert farm.ledger.begin_step(claim, 0, "token") is BeginOutcome.RUN
        for _ in range(4):
            agent.look()
        assert farm.ledger.record(build.id).state is BuildState.RUNNING
    for _ in range(4):
        agent.look()
    record = farm.ledger.record(build.id)
    assert (record.state, record.attempt) == (BuildState.QUEUED, 2)


def test_leases_are_renewed_while_a_look_takes_long(farm: Farm) -> None:
    holder, go_on = Holder("one", "life-1"), threading.Event()
    agent = agent_of(farm.settings_of("one"), holder, go_on)
    agent.arrive()
    (build,) = farm.submit(farm.build())
    assert farm.ledger.claim(ClaimedAttempt(build.id, 1, holder), 90.0) is ClaimOutcome.CLAIMED
    client = farm.ledger.connection.client
    live = threading.Thread(target=agent.live)
    live.start()
    try:
        seen: set[float] = set()

        def renewed() -> bool:
            seen.add(client.zscore("test:leases", build.id))
            return len(seen) > 3

        assert eventually(renewed)
        assert [host.name for host in Hosts(farm.ledger.connection).all()] == ["one"]
    finally:
        agent.ended.set()
        go_on.set()
        live.join()
