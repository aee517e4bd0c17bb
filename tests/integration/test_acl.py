"""A whole farm on a Redis with the users of deploy/redis/stagefarm.acl, each with its own."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import time
from typing import Any
from urllib.request import urlopen

import pytest
import redis

from orchestrator.cli import run
from tasks import settings
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
            encoding_errors="surrogateescape",
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


def flower_answers(url: str) -> bool:
    try:
        return page(f"{url}/healthcheck") == "OK"
    except OSError:
        return False


def leave_taken_message(farm: Farm) -> None:
    """What a worker leaves behind that was lost between taking a message and acknowledging it."""
    message = {"body": "", "headers": {}, "properties": {"delivery_info": {}, "priority": 0}}
    with farm.redis.client() as client:
        client.hset("stagefarm:celery:unacked", "tag", json.dumps([message, "", "nobody.reads"]))
        client.zadd("stagefarm:celery:unacked_index", {"tag": time() - 2 * 3600})


def taken_messages(farm: Farm) -> int:
    with farm.redis.client() as client:
        return int(client.zcard("stagefarm:celery:unacked_index"))  # type: ignore[arg-type]


def leave_old_table(farm: Farm) -> None:
    """Where answers went of somebody who asked workers and was killed: overdue for removal."""
    with farm.redis.client() as client:
        client.sadd("stagefarm:celery:_kombu.binding.old.celery.pidbox", "gone")
        client.zadd("stagefarm:celery:_kombu.binding_deadlines", {"old.celery.pidbox": 1})


def old_tables(farm: Farm) -> int:
    with farm.redis.client() as client:
        return int(client.zcount("stagefarm:celery:_kombu.binding_deadlines", 0, 1))  # type: ignore[arg-type]


def test_a_whole_farm_works_as_the_users_of_the_file(farm: Farm) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    flower = farm.start(["flower", "--port", str(port)])
    supervisor = farm.start(["supervisor"])
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
    for process in (flower, supervisor):
        process.send_signal(signal.SIGTERM)
        process.wait()
    assert farm.redis.refused() == set()


def test_what_was_left_in_the_broker_is_cleaned_up_by_those_who_may(farm: Farm) -> None:
    leave_taken_message(farm)
    leave_old_table(farm)
    url = f"http://127.0.0.1:{(port := free_port())}"
    flower = farm.start(["flower", "--port", str(port)])
    assert eventually(lambda: flower_answers(url), 60), farm.logs()
    assert eventually(lambda: old_tables(farm) == 0, 60), "kombu in Flower sweeps it"
    flower.send_signal(signal.SIGTERM)
    flower.wait()
    assert taken_messages(farm) == 1, "Flower has no right to return it"

    leave_old_table(farm)
    farm.worker("one")
    assert eventually(lambda: taken_messages(farm) == 0, 60), "a worker returns it"
    assert eventually(lambda: old_tables(farm) == 0, 60), "kombu in a worker sweeps it"
    with farm.redis.client() as client:
        assert client.llen("stagefarm:celery:nobody.reads") == 1
    assert farm.redis.refused() == set()


ROLES = ("submitter", "worker", "supervisor", "flower", "monitoring")
NOBODY_MAY = (
    "keys *", "scan 0", "dbsize", "randomkey", "flushall", "flushdb", "swapdb 0 1",
    "config get *", "config set requirepass x", "acl list", "acl setuser x", "acl log",
    "client list", "client kill 127.0.0.1:1", "client pause 1", "client tracking on", "monitor",
    "shutdown nosave", "save", "bgsave", "replicaof no one", "module list",
    "slowlog get", "memory doctor", "latency reset", "eval return_1 0", "script flush",
    "script kill", "function load x", "fcall x 0", "rename stagefarm:builds stagefarm:x",
    "copy stagefarm:builds other", "dump stagefarm:builds", "restore stagefarm:x 0 x",
    "get other", "set other x", "publish other x", "subscribe other", "psubscribe *",
)  # fmt: skip
"""What no part of the farm needs."""

REFUSED = {
    "submitter": (
        "del stagefarm:build:x", "xadd stagefarm:build:x:log * t x", "set stagefarm:schema 3",
        "set stagefarm:leader x", "hset stagefarm:host:one left 1", "zadd stagefarm:hosts 1 one",
        "zadd stagefarm:leases 1 x", "get stagefarm:context:0", "del stagefarm:context:0",
        "hset stagefarm:watch last 1", "brpop stagefarm:celery:x86-64bit.generic_64 1",
        "lrange stagefarm:celery:x86-64bit.generic_64 0 -1", "del stagefarm:celery:unacked",
        "publish stagefarm:celery:/0.celery.pidbox x",
        "publish stagefarm:celery:/0.celeryev/worker.online x",
        "psubscribe stagefarm:celery:/0.celeryev/*", "sadd stagefarm:schedules x",
        "del stagefarm:schedule:x", "hset stagefarm:notify:outbox 1 x",
    ),
    "worker": (
        "del stagefarm:build:x", "zadd stagefarm:builds 1 x", "sadd stagefarm:queues x",
        "set stagefarm:context:0 x", "set stagefarm:schema 3", "set stagefarm:leader x",
        "get stagefarm:leader", "hdel stagefarm:drained one", "hset stagefarm:watch last 1",
        "rpush stagefarm:batch:x:builds y", "del stagefarm:batch:x", "zrem stagefarm:ended x",
        "lrange stagefarm:celery:x86-64bit.generic_64 0 -1",
        "del stagefarm:celery:x86-64bit.generic_64", "zrem stagefarm:hosts one",
        "psubscribe stagefarm:celery:/0.celeryev/*", "hgetall stagefarm:schedule:x",
        "hset stagefarm:schedule:x last 1", "hgetall stagefarm:notify:outbox",
        "hset stagefarm:notify:outbox 1 x",
    ),
    "supervisor": (
        "del stagefarm:schedule:x", "zadd stagefarm:leases 1 x", "del stagefarm:context:0",
        "get stagefarm:context:0", "hset stagefarm:host:one left 1", "zadd stagefarm:hosts 1 one",
        "hset stagefarm:drained one 1", "set stagefarm:schema 3", "srem stagefarm:queues x",
        "hdel stagefarm:drained one", "lpush stagefarm:batch:x:builds x",
        "xadd stagefarm:build:x:log * t x", "brpop stagefarm:celery:x86-64bit.generic_64 1",
        "del stagefarm:celery:x86-64bit.generic_64", "hget stagefarm:celery:unacked x",
        "publish stagefarm:celery:/0.celery.pidbox x",
    ),
    "flower": (
        "hgetall stagefarm:build:x", "hmget stagefarm:build:x spec", "zrange stagefarm:builds 0 -1",
        "xrange stagefarm:events - +", "hset stagefarm:build:x state failed",
        "get stagefarm:context:0", "setnx stagefarm:schema 3", "set stagefarm:leader x",
        "lpush stagefarm:celery:x86-64bit.generic_64 x",
        "brpop stagefarm:celery:x86-64bit.generic_64 1",
        "lrange stagefarm:celery:x86-64bit.generic_64 0 -1",
        "del stagefarm:celery:x86-64bit.generic_64", "hget stagefarm:celery:unacked x",
        "srem stagefarm:celery:_kombu.binding.x86-64bit.generic_64 x",
        "publish stagefarm:celery:/0.celeryev/worker.online x", "info",
    ),
    "monitoring": (
        "get stagefarm:context:0", "get stagefarm:leader", "llen stagefarm:celery:host.one",
        "lrange stagefarm:celery:host.one 0 -1", "script load return_1", "script exists 0",
        "evalsha 0 0", "evalsha_ro 0 0", "eval_ro return_1 0", "fcall_ro x 0", "multi", "info",
        "publish stagefarm:celery:/0.celery.pidbox x",
        "psubscribe stagefarm:celery:/0.celeryev/*", "hset stagefarm:schedule:x paused 1",
        "hset stagefarm:notify:outbox 1 x",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedRedis]:
    server = GuardedRedis(tmp_path_factory.mktemp("redis"))
    server.guard("stagefarm")
    server.start()
    with server.client() as client:  # keys of the right types: nothing fails for another reason
        client.hset("stagefarm:build:x", "state", "running")
        client.zadd("stagefarm:builds", {"x": 1})
    yield server
    server.kill()


@pytest.mark.parametrize("user", ROLES)
@pytest.mark.parametrize("words", NOBODY_MAY)
def test_what_no_part_needs_is_refused_to_all(guarded: GuardedRedis, user: str, words: str) -> None:
    require_refusal(guarded, user, words)


@pytest.mark.parametrize(
    ("user", "words"), [(user, words) for user, some in REFUSED.items() for words in some]
)
def test_what_another_part_does_is_refused(guarded: GuardedRedis, user: str, words: str) -> None:
    require_refusal(guarded, user, words)


def require_refusal(guarded: GuardedRedis, user: str, words: str) -> None:
    with (
        guarded.client(user) as client,
        pytest.raises(redis.exceptions.NoPermissionError),
    ):
        client.execute_command(*words.split())


def test_nobody_comes_in_without_a_name(guarded: GuardedRedis) -> None:
    with (
        redis.Redis(host=guarded.address, port=guarded.port) as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.ping()


def test_a_command_of_another_part_says_whose_it_is(
    guarded: GuardedRedis, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STAGEFARM_REDIS_URL", guarded.url_of("monitoring"))
    monkeypatch.setenv("STAGEFARM_REDIS_PASSWORD_FILE", guarded.password_file_of("monitoring"))
    settings.current.cache_clear()
    try:
        assert run(["workers"]) == 0
        assert run(["drain", "one"]) == 4
    finally:
        settings.current.cache_clear()
    said = capsys.readouterr().err
    assert "no permissions" in said
    assert "docs/redis.md says which one may" in said


def writes(commands: dict[str, Any]) -> Iterator[tuple[list[str], int]]:
    """The words of each command that writes, and how many more it takes at least."""
    for name, command in commands.items():
        parts = [(name, command["arity"], command["flags"])]
        parts += [(str(sub[0]), sub[1], sub[2]) for sub in command["subcommands"]]
        for full, arity, flags in parts:
            if "write" in flags:
                words = full.split("|")
                yield words, abs(arity) - len(words)


def test_monitoring_can_run_no_command_that_writes(guarded: GuardedRedis) -> None:
    """Every command that the server calls a write, on a key that `monitoring` may read."""
    key = "stagefarm:builds"
    with guarded.client() as admin, guarded.client("monitoring") as client:
        found = list(writes(admin.execute_command("COMMAND")))
        assert len(found) > 100
        before = admin.dump(key)
        for words, count in found:
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*words, *[key] * count)
        assert admin.dump(key) == before
