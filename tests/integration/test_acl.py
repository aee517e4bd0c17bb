"""A whole farm on a Redis with the users of deploy/redis/stagefarm.acl, each with its own."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.request import urlopen

import pytest
import redis

from tasks.ledger.hosts import Hosts
from tasks.model import BuildState, Source, SourceType
from tests.farm import Farm, lose_power
from tests.farm_builds import go, hanging, hangs, hook
from tests.redis_server import ACL, PASSWORDS, RedisServer, free_port, knows_the_acl
from tests.waiting import eventually

pytestmark = [
    pytest.mark.redis,
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(not knows_the_acl(), reason="the users need Redis 7"),
]


class GuardedRedis(RedisServer):
    """A server that knows the users of the file and nobody else: the test itself is `submitter`,
    and `admin` where it looks at the server."""

    def guard(self, prefix: str) -> None:
        assert prefix == "stagefarm"
        self.guarded = True
        self.know(ACL.read_text())

    @property
    def url(self) -> str:
        return f"redis://submitter:{PASSWORDS['submitter']}@{self.address}:{self.port}/0"

    def client(self, user: str = "admin") -> redis.Redis:
        return redis.Redis(
            host=self.address,
            port=self.port,
            username=user,
            password=PASSWORDS[user],
            decode_responses=True,
        )


@pytest.fixture
def farm(tmp_path: Path, seed: Path, can_isolate: None, host_unchanged: None) -> Iterator[Farm]:
    farm = Farm(tmp_path, seed, GuardedRedis(tmp_path / "redis"), prefix="stagefarm")
    farm.redis.start()
    try:
        yield farm
    finally:
        farm.end()


def say(farm: Farm, *arguments: str) -> str:
    """What a command prints that is to succeed."""
    done = farm.command(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def page(url: str) -> str:
    with urlopen(url) as answer:
        return str(answer.read().decode())


def flower_sees(url: str, host: str) -> bool:
    try:
        workers = json.loads(page(f"{url}/workers?json=1"))["data"]
    except OSError:
        return False
    return f"stagefarm@{host}" in [worker["hostname"] for worker in workers]


def test_a_whole_farm_works_as_the_users_of_the_file(farm: Farm) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    farm.start(["flower", "--port", str(port)])
    farm.start(["supervisor"])
    one = farm.worker("one", slots=2)
    assert eventually(lambda: flower_sees(url, "one"), 60), farm.logs()

    base = hanging(farm, name="base")
    path = f"{base.output.dir}/{base.output.name}"
    full = farm.build(name="full", after=base.id, source=Source(type=SourceType.FILE, path=path))
    two_groups = farm.build_of((hook("echo one"),), (hook("test -e /never"),), name="kept")
    kept = replace(
        two_groups, steps=tuple(replace(step, checkpoint=True) for step in two_groups.steps)
    )
    unwanted = hanging(farm, name="unwanted")
    waiting = farm.build(name="waiting", subarch="haswell")
    farm.submit(kept)
    farm.wait(kept, state=BuildState.FAILED)
    assert "from step 3" in say(farm, "retry", kept.id, "--from", "last")
    farm.wait(kept, state=BuildState.FAILED)

    farm.submit(base, full, unwanted, waiting)
    hangs(farm, base)
    hangs(farm, unwanted)
    assert waiting.id in say(farm, "status")
    assert "No host serves" in say(farm, "why", waiting.id)
    assert "stagefarm.hooks" in page(f"{url}/worker/stagefarm@one"), "it can ask a worker"
    assert "x86-64bit.generic_64" in page(f"{url}/broker"), "it can count messages"
    say(farm, "cancel", unwanted.id)
    farm.wait(unwanted, state=BuildState.CANCELLED)

    lose_power(one)  # its build is given to another host by the supervisor
    with farm.redis.client() as client:  # whose message is lost
        (queue,) = client.keys("stagefarm:celery:x86-64bit.haswell*")
        client.delete(queue)
    go(farm)
    two = farm.worker("two")
    farm.worker("three", "x86-64bit.haswell")
    say(farm, "follow", base.id, full.id, waiting.id)
    assert "hook work" in say(farm, "logs", "-f", full.id)
    say(farm, "drain", "two")
    assert eventually(lambda: "drained" in say(farm, "workers"))
    say(farm, "undrain", "two")
    say(farm, "fetch", base.id)
    two.send_signal(signal.SIGTERM)
    assert two.wait() == 0, farm.logs()
    assert Hosts(farm.ledger.connection).all()[-1].left
    say(farm, "forget", "two")
    assert farm.redis.refused() == set()
