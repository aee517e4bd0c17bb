"""A host cut off from Redis: for less than its lease, and for more."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.farm import Farm
from tests.farm_builds import attempts_begun, go, hanging, hangs
from tests.faults.conftest import settled_check
from tests.net import Network, network
from tests.redis_server import RedisServer
from tests.waiting import eventually

pytestmark = [pytest.mark.redis, pytest.mark.root]
Settled = Callable[..., None]


@pytest.fixture
def net(can_isolate: None) -> Iterator[Network]:
    if not shutil.which("ip") or not shutil.which("nsenter"):
        pytest.skip("needs ip and nsenter")
    with network() as made:
        yield made


@pytest.fixture
def farm(net: Network, tmp_path: Path, seed: Path, host_unchanged: None) -> Iterator[Farm]:
    """Redis and a supervisor on the hub, two hosts with addresses of their own."""
    farm = Farm(tmp_path, seed, RedisServer(tmp_path / "redis", address=net.hub.address))
    farm.redis.start()
    farm.start(["supervisor"])
    try:
        yield farm
    finally:
        farm.end()


def test_cut_off_for_less_than_the_lease(farm: Farm, net: Network) -> None:
    farm.quick["lease_s"] = 20.0
    farm.worker("one", within=net.add("one").within)
    (build,) = farm.submit(hanging(farm, "while ! test -e go; do sleep 0.1; done"))
    hangs(farm, build)
    net.cut("one")
    seen = host_seen(farm)
    assert eventually(lambda: farm.ledger.now() - seen > 3), "several heartbeats are missed"
    (farm.folder / f"hosts/one/builds/{build.id}.1/context/go").touch()
    net.mend("one")
    settled_check(farm)(build)
    assert attempts_begun(farm, build) == ["1"]
    assert farm.record(build).attempt == 1


def test_cut_off_for_more_than_the_lease(farm: Farm, net: Network) -> None:
    farm.worker("one", within=net.add("one").within)
    (build,) = farm.submit(hanging(farm))
    hangs(farm, build)
    net.cut("one")
    go(farm)
    farm.worker("two", within=net.add("two").within)
    (record,) = farm.wait(build)
    assert (record.host, record.attempt) == ("two", 2)
    home = farm.folder / f"hosts/one/builds/{build.id}.1"
    assert home.exists(), "the first goes on, for it does not know"
    net.mend("one")
    assert eventually(lambda: not home.exists(), 60.0), farm.logs()
    settled_check(farm)(build)
    assert attempts_begun(farm, build) == ["1", "2"]


def host_seen(farm: Farm) -> float:
    return float(farm.ledger.connection.client.zscore("test:hosts", "one"))
