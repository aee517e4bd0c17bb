"""A mirror in S3, on two servers: one that keeps conditions of writing, one that does not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.release.targets.s3 import LOCK, S3Target
from orchestrator.release.targets.target import Item
from tasks.errors import HostUnfit, Stale, Untrusted
from tasks.store.objects import Objects
from tasks.store.s3_access import client
from tests.publishing import ByName
from tests.releases import DAY_S, Served, Shop
from tests.s3_servers import BUCKET, S3Server, moto_server, rclone_server
from tests.unit.test_release import read

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

    @property
    def target(self) -> S3Target:  # type: ignore[override]
        locks = self.folder / "locks"
        return S3Target(self.objects, self.url, locks, self.said.append, self.lease_s)


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
    from tests.waiting import eventually

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


def test_a_server_that_overwrites_all_the_same_is_told(tmp_path: Path) -> None:
    with rclone_server(tmp_path) as server, Served(tmp_path / "buckets" / BUCKET) as served:
        shop = BucketShop(tmp_path / "shop", url=f"{served.url}/mirror")
        shop.objects = Objects.at(f"s3://{BUCKET}/mirror", server.access())
        shop.put("a-1")
        assert shop.publish("a-1", views=[ByName()]).failed == {}
        assert read(shop) == ["a-1"]
        assert "publish to it from one machine only" in shop.said[0]
        with shop.target.exclusive(), pytest.raises(Stale, match="another publisher is at work"):
            shop.publish("a-1")


def test_a_bucket_that_cannot_be_reached_is_told(shop: BucketShop) -> None:
    shop.objects = Objects.at("s3://gone/mirror", shop.objects.access)
    with pytest.raises(HostUnfit):
        shop.publish()
    assert shop.target.missing([]) == []
    with pytest.raises(HostUnfit):
        shop.target.put([Item(path="x", content=b"x")], int)
