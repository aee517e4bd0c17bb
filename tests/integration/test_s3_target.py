"""A mirror in S3, on two servers: one that keeps conditions of writing, one that does not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.release.targets.s3 import LOCK, S3Target
from orchestrator.release.targets.target import Item
from tasks.errors import HostUnfit, Stale, Untrusted
from tasks.ledger.connection import Connection, connect
from tasks.ledger.locks import PublishingLock
from tasks.settings import Settings
from tasks.store.objects import Objects
from tasks.store.s3_access import client
from tests.publishing import ByName
from tests.redis_server import RedisServer, free_port
from tests.releases import DAY_S, Served, Shop
from tests.s3_servers import BUCKET, S3Server, moto_server, rclone_server
from tests.unit.test_release import read
from tests.waiting import eventually

FOR_ALL_TO_READ = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": "*",
            "Action": ["s3:GetObject", "s3:HeadObject"],
            "Resource": f"arn:aws:s3:::{BUCKET}/*",
        }
    ],
}


class BucketShop(Shop):
    objects: Objects
    lease_s: float = 300.0
    ledger: Connection | None = None

    @property
    def target(self) -> S3Target:  # type: ignore[override]
        locks = self.folder / "locks"
        return S3Target(self.objects, self.url, locks, self.said.append, self.lease_s, self.ledger)


def keys(server: S3Server) -> set[str]:
    found = server.keys()
    return {key.removeprefix("mirror/") for key in found}


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with moto_server(tmp_path_factory.mktemp("moto")) as server:
        client(server.access()).put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(FOR_ALL_TO_READ))
        yield server


@pytest.fixture
def shop(moto: S3Server, tmp_path: Path) -> BucketShop:
    """A shop whose mirror is in moto's server, which anyone may read."""
    shop = BucketShop(tmp_path, url=f"{moto.endpoint}/{BUCKET}/mirror")
    shop.objects = Objects.at(f"s3://{BUCKET}/mirror", moto.access())
    shop.objects.delete([one.path for one in shop.objects.list()])
    return shop


def test_generations_are_published_and_removed(shop: BucketShop, moto: S3Server) -> None:
    for number in (1, 2, 3):
        shop.put(f"a-{number}", at=shop.now + number)
        assert shop.publish(f"a-{number}", views=[ByName()]).failed == {}
    assert read(shop) == ["a-3", "a-2"]
    assert {"by-name/a-3.tar.zst", "by-name/list.txt", "stable.json"} <= keys(moto)
    old = {file.path for file in shop.take("a-1").stages[0].files} | {"by-name/a-1.txt"}
    assert old <= keys(moto)
    shop.now += 4 * DAY_S
    shop.put("a-4", at=shop.now)
    outcome = shop.publish("a-4", views=[ByName()])
    assert outcome.failed == {}
    assert old <= set(outcome.removed)
    assert not old & keys(moto)
    assert read(shop) == ["a-4", "a-3"]
    assert not any(
        key.startswith((LOCK, ".stagefarm-probe", ".publisher/clock")) for key in keys(moto)
    )
    assert shop.said == []


def test_what_is_not_what_was_built_is_not_stored(shop: BucketShop, moto: S3Server) -> None:
    shop.put("a-1")
    taken = shop.take("a-1")
    tarball = next(shop.store.glob("a-1/a-1/1/*.tar.zst"))
    tarball.write_bytes(tarball.read_bytes()[::-1])
    with pytest.raises(Untrusted, match="is not what was built"):
        shop.publisher().publish(taken)
    assert keys(moto) == {".publisher/stable.json"}


def test_another_machine_that_publishes_is_noticed(shop: BucketShop, tmp_path: Path) -> None:
    shop.put("a-1")
    other = BucketShop(tmp_path / "other", url=shop.url, now=shop.now)
    other.objects = shop.objects
    with other.target.exclusive(), pytest.raises(Stale, match="another publisher is at work"):
        shop.publish("a-1")
    assert shop.publish("a-1").catalog.version == 1
    with pytest.raises(Stale, match="has changed"):
        other.target.switch("stable.json", b"mine", None)
    assert read(shop) == ["a-1"]


def test_the_lock_of_a_publisher_that_was_killed_ends(shop: BucketShop) -> None:
    shop.put("a-1")
    shop.objects.put(LOCK, b"left by another")
    shop.lease_s = -1.0
    assert shop.publish("a-1").catalog.version == 1


def test_a_lock_is_renewed_while_it_is_held(shop: BucketShop) -> None:
    shop.lease_s = 0.3
    with shop.target.exclusive():
        before = shop.objects.read(LOCK, 100)
        assert eventually(lambda: shop.objects.read(LOCK, 100) != before)
    assert shop.objects.head(LOCK) is None


def test_one_of_two_moves_the_pointer(shop: BucketShop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another publisher moves it after this one has looked, whatever became of their locks."""
    shop.put("a-1")
    shop.publish("a-1")
    before = shop.target.read("stable.json", 1 << 20)
    really = Objects.put_if_match

    def later(objects: Objects, path: str, data: bytes, *more: str) -> str | None:
        if data == b"mine":
            objects.put(path, b"theirs")
        return really(objects, path, data, *more)

    monkeypatch.setattr(Objects, "put_if_match", later)
    with pytest.raises(Stale, match="has changed"):
        shop.target.switch("stable.json", b"mine", before)
    assert shop.target.read("stable.json", 100) == b"theirs"


# A server that overwrites all the same


@pytest.fixture(scope="module")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[S3Server, str]]:
    folder = tmp_path_factory.mktemp("rclone")
    with rclone_server(folder) as server, Served(folder / "buckets" / BUCKET) as served:
        yield server, served.url


@pytest.fixture
def forgetful(rclone: tuple[S3Server, str], tmp_path: Path) -> BucketShop:
    """A shop whose mirror is in rclone's server."""
    server, url = rclone
    shop = BucketShop(tmp_path / "shop", url=f"{url}/{tmp_path.name}")
    shop.objects = Objects.at(f"s3://{BUCKET}/{tmp_path.name}", server.access())
    shop.put("a-1")
    return shop


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A farm's Redis with its users; the test itself may do everything."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.guard("farm")
    server.start()
    try:
        yield server
        assert not server.guarded or server.refused() == set()
    finally:
        server.kill()


@pytest.fixture
def ledger(redis: RedisServer) -> Iterator[Connection]:
    """As the submitter of the farm has it."""
    url, password = redis.url_of("submitter"), redis.password_file_of("submitter")
    settings = Settings(redis_url=url, redis_password_file=password, key_prefix="farm")
    connection = connect(settings)
    yield connection
    connection.client.close()


def test_a_server_that_overwrites_all_the_same_is_told(forgetful: BucketShop) -> None:
    assert forgetful.publish("a-1", views=[ByName()]).failed == {}
    assert read(forgetful) == ["a-1"]
    assert "publish to it from one machine only" in forgetful.said[0]
    with forgetful.target.exclusive(), pytest.raises(Stale, match="another publisher is at work"):
        forgetful.publish("a-1")


@pytest.mark.redis
def test_the_ledger_locks_where_the_server_does_not(
    forgetful: BucketShop, ledger: Connection, redis: RedisServer, tmp_path: Path
) -> None:
    forgetful.ledger = ledger
    other = BucketShop(tmp_path / "other", url=forgetful.url)
    other.objects, other.ledger = forgetful.objects, ledger
    with other.target.exclusive(), pytest.raises(Stale, match="another publisher") as refused:
        forgetful.publish("a-1")
    assert refused.value.exit_code == 6
    assert forgetful.publish("a-1").catalog.version == 1
    assert f"is locked in the farm's Redis at {ledger.address}" in forgetful.said[-1]
    assert read(forgetful) == ["a-1"]
    with redis.client() as client:
        assert client.keys("farm:publishing:*") == []


@pytest.mark.redis
def test_the_ledgers_lock_outlives_a_killed_publisher_by_its_lease_only(
    forgetful: BucketShop, ledger: Connection
) -> None:
    forgetful.ledger = ledger
    killed = PublishingLock(ledger, forgetful.target.label, 90.0)
    assert killed.hold()
    with pytest.raises(Stale):
        forgetful.publish("a-1")
    assert replace(killed, lease_s=0.2).hold(), "its last renewal"
    later = PublishingLock(ledger, killed.url, 90.0)
    assert eventually(later.hold)
    later.let_go()
    assert forgetful.publish("a-1").catalog.version == 1


@pytest.mark.redis
def test_the_ledgers_lock_is_renewed_and_asked_before_the_pointer_moves(
    forgetful: BucketShop, ledger: Connection, redis: RedisServer
) -> None:
    forgetful.ledger, forgetful.lease_s = ledger, 0.6
    target = forgetful.target
    with redis.client() as client, target.exclusive():
        (key,) = client.keys("farm:publishing:*")
        client.pexpire(key, 60_000)
        assert eventually(lambda: client.pttl(key) <= 600), "renewed"
        client.set(key, "another's")
        with pytest.raises(Stale, match="another publisher"):
            target.switch("stable.json", b"mine", None)
    with redis.client() as client:
        assert client.getdel(key) == "another's", "what another holds stays"
    assert target.read("stable.json", 100) is None


def test_without_an_answer_of_the_ledger_it_warns(forgetful: BucketShop) -> None:
    forgetful.ledger = connect(Settings(redis_url=f"redis://127.0.0.1:{free_port()}/0"))
    assert forgetful.publish("a-1").catalog.version == 1
    assert "the ledger cannot lock it, so publish to it from one machine only" in forgetful.said[0]


def test_a_bucket_that_cannot_be_reached_is_told(shop: BucketShop) -> None:
    shop.objects = Objects.at("s3://gone/mirror", shop.objects.access)
    with pytest.raises(HostUnfit):
        shop.publish()
    assert shop.target.missing([]) == []
    with pytest.raises(HostUnfit):
        shop.target.put([Item(path="x", content=b"x")], int)
