"""Workers that somebody starts with Celery's own command."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.farm import QUEUE, Farm, lose_power
from tests.redis_server import RedisServer
from tests.waiting import eventually

pytestmark = [pytest.mark.redis, pytest.mark.root]


@pytest.fixture
def farm(
    tmp_path: Path,
    seed: Path,
    can_isolate: None,
    host_unchanged: None,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Farm]:
    monkeypatch.setenv("C_FORCE_ROOT", "1")
    farm = Farm(tmp_path, seed, RedisServer(tmp_path / "redis"))
    farm.redis.start()
    try:
        yield farm
    finally:
        farm.end()


def test_it_builds_and_leaves_no_queue_of_gossip_behind(farm: Farm) -> None:
    words = ["-A", "tasks", "worker", "-Q", QUEUE, "-l", "INFO", "-c", "1", "-n"]
    workers = [
        farm.start([*words, f"stagefarm@{host}"], host, program="celery") for host in ("one", "two")
    ]
    logs = [
        farm.folder / f"{number:02}--A-{host}.log" for number, host in enumerate(("one", "two"))
    ]
    assert eventually(lambda: all(" ready." in log.read_text() for log in logs), 60), farm.logs()
    assert "mingle" not in farm.logs()
    (build,) = farm.submit(farm.build())
    farm.wait(build)
    client = farm.ledger.connection.client
    assert client.keys("test:celery:*pidbox*"), "of Celery's own queues, these are wanted"
    assert client.keys("test:celery:*celeryev*") == []
    for worker in workers:
        lose_power(worker)
    assert client.keys("test:celery:*celeryev*") == []
