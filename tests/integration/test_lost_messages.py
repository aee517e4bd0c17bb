"""The supervisor's search for lost messages: exact, and cheap however many builds wait."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest
import redis
from celery import Celery

from orchestrator.farm.submit import submit
from orchestrator.farm.supervisor import Supervisor
from tasks.app import make_app
from tasks.ledger.answers import ClaimedAttempt, ClaimOutcome, Holder
from tasks.ledger.builds import Ledger
from tasks.ledger.watch import Look
from tasks.model import Build
from tasks.settings import Settings
from tests.builds import any_build
from tests.farm import QUEUE, steps_of
from tests.redis_server import RedisServer

pytestmark = pytest.mark.redis

LEADS = Look(leads=True, quiet_s=0.0, expired=())
COUNT = 1000


@dataclass
class Scene:
    """A ledger, its queues, and a supervisor for which each build waits too long at once."""

    settings: Settings
    client: redis.Redis
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ledger = Ledger.open(self.settings)
        self.app: Celery = make_app(lambda: self.settings)
        self.supervisor = Supervisor(self.settings, self.ledger, self.app, self.said.append)

    def submit(self, count: int, **changes: object) -> list[Build]:
        names = [f"b-{number:04}" for number in range(count)]
        builds = [any_build(id=name, steps=steps_of(), **changes) for name in names]
        return submit(builds, ledger=self.ledger, app=self.app, settings=self.settings)

    def messages(self) -> Counter[str]:
        """The id of every message in the queue, and how many there are of it."""
        keys = self.client.keys(f"t:celery:{QUEUE}*")
        texts = [text for key in keys for text in self.client.lrange(key, 0, -1)]
        return Counter(msgspec.json.decode(text)["headers"]["id"] for text in texts)

    def lose(self, *builds: Build) -> None:
        """Take the messages of `builds` out of the queue."""
        for key in self.client.keys(f"t:celery:{QUEUE}*"):
            for text in self.client.lrange(key, 0, -1):
                if any(f'"id": "{build.id}.' in text for build in builds):
                    assert self.client.lrem(key, 1, text) == 1

    def scan(self, times: int = 1) -> None:
        for _ in range(times):
            self.supervisor.act(LEADS)

    def calls_of_scan(self) -> dict[str, int]:
        """The commands that Redis carries out for one scan, also within scripts."""
        self.client.config_resetstat()
        self.scan()
        stats = self.client.info("commandstats")
        return {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in stats.items()}


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    server = RedisServer(tmp_path / "redis", appendonly=False)
    server.start()
    state = str(tmp_path / "state")  # where the submitter's key is made
    settings = Settings(redis_url=server.url, key_prefix="t", state_dir=state, resend_s=0.0)
    with server.client() as client:
        yield Scene(settings, client)
    server.kill()


def test_only_the_lost_messages_are_sent_again(scene: Scene) -> None:
    builds = scene.submit(COUNT)
    lost = [builds[0], builds[COUNT // 2], builds[-1]]
    scene.lose(*lost)
    assert scene.messages().total() == COUNT - len(lost)
    scene.scan()
    assert scene.said == [], "a message that is missing once may just have been taken"
    scene.scan()
    assert scene.said == [f"{build.id}: sending its message again" for build in lost]
    scene.scan(3)
    assert scene.messages() == {f"{build.id}.1.00-source": 1 for build in builds}


def test_a_surplus_message_hides_no_loss(scene: Scene) -> None:
    first, second, third = scene.submit(3)
    for text in scene.client.lrange(key := f"t:celery:{QUEUE}\x06\x169", 0, -1):
        scene.client.lpush(key, text)
    scene.lose(second)
    scene.scan(2)
    assert scene.messages()[f"{second.id}.1.00-source"] == 1
    assert scene.messages().total() == 5
    assert len(scene.said) == 1, (first, third)


def test_a_message_of_an_earlier_attempt_counts_for_nothing(scene: Scene) -> None:
    (build,) = scene.submit(1)
    scene.ledger.cancel(build.id, "once")
    assert scene.ledger.retry(build.id, "request") == 2
    scene.scan(4)
    assert scene.messages() == {f"{build.id}.1.00-source": 1, f"{build.id}.2.00-source": 1}


def test_messages_of_every_priority_are_seen(scene: Scene) -> None:
    for priority in range(10):
        build = any_build(id=f"p-{priority}", steps=steps_of(), priority=priority)
        submit([build], ledger=scene.ledger, app=scene.app, settings=scene.settings)
    scene.scan(2)
    assert scene.said == []


def test_a_build_that_was_claimed_between_two_looks_gets_no_message(scene: Scene) -> None:
    (build,) = scene.submit(1)
    scene.lose(build)
    scene.scan()
    claim = ClaimedAttempt(build.id, 1, Holder("one", "life"))
    assert scene.ledger.claim(claim, 90.0) is ClaimOutcome.CLAIMED
    scene.scan()
    assert scene.messages() == {}


def test_what_others_put_into_a_queue_does_no_harm(scene: Scene) -> None:
    builds = scene.submit(2)
    for text in ("no JSON", '{"headers": {}}', '{"headers": {"id": "of another program"}}'):
        scene.client.rpush(f"t:celery:{QUEUE}", text)
    scene.scan(2)
    assert scene.said == []
    assert len(builds) == 2


def test_a_scan_asks_redis_little_however_many_builds_wait(scene: Scene) -> None:
    scene.submit(COUNT)
    scene.scan()
    calls = scene.calls_of_scan()
    assert calls.pop("hmget") <= COUNT + 1, "the attempt of each, within one script"
    assert calls["evalsha"] <= 2
    assert sum(calls.values()) < 50, calls


def test_what_was_seen_is_not_looked_for_again_until_it_is_late_again(scene: Scene) -> None:
    scene.submit(COUNT)
    scene.scan()
    patient = Settings(redis_url=scene.settings.redis_url, key_prefix="t", resend_s=60.0)
    scene.supervisor = Supervisor(patient, scene.ledger, scene.app, scene.said.append)
    with scene.client.pipeline() as pipeline:  # half of them were sent long ago
        for number in range(COUNT // 2):
            pipeline.zadd(f"t:waiting:{QUEUE}", {f"b-{number:04}": 1.0})
        pipeline.execute()
    assert scene.calls_of_scan()["hmget"] <= COUNT // 2 + 1
    calls = scene.calls_of_scan()
    assert calls.get("lrange", 0) == 0
    assert sum(calls.values()) < 20, calls
