"""The order in which a real worker with one slot begins what waits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.farm.signing import sign_all
from tasks.ledger.order import FAR_S, Order
from tasks.model import Build, BuildState
from tasks.trust.policy import host_key
from tasks.worker.messages import send
from tests.farm import QUEUE, Farm
from tests.farm_builds import hanging, hangs
from tests.redis_server import RedisServer
from tests.waiting import eventually

pytestmark = [
    pytest.mark.redis,
    pytest.mark.root,
    pytest.mark.usefixtures("host_unchanged"),
]

DAY_S = 24 * 3600.0
MATRIX = 300


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory, seed: Path, can_isolate: None) -> Iterator[Farm]:
    folder = tmp_path_factory.mktemp("farm")
    farm = Farm(folder, seed, RedisServer(folder / "redis"))
    farm.redis.start()
    try:
        farm.worker("one")
        yield farm
    finally:
        farm.end()


@contextmanager
def occupied(farm: Farm) -> Iterator[list[str]]:
    """The slot of host one is busy until the end of the context; yields the builds that were
    claimed by then."""
    (blocker,) = farm.submit(hanging(farm, "while ! test -e go; do sleep 0.05; done"))
    hangs(farm, blocker)
    yield begun(farm)
    (farm.folder / f"hosts/one/builds/{blocker.id}.1/context/go").touch()


def submit_with(farm: Farm, orders: dict[str, Order], *builds: Build) -> None:
    """Submit builds whose orders are given, by name of the job."""
    done, signatures = sign_all(builds, farm.settings)
    assert farm.ledger.submit(done, signatures, {b.id: orders[b.job] for b in done}) == []
    for build in done:
        send(farm.app, build, 1)


def due(in_s: float, farm: Farm) -> Order:
    return Order(flow="", cost_s=60.0, latest=farm.ledger.now() + in_s, patience_s=FAR_S)


def begun(farm: Farm, before: Sequence[str] = ()) -> list[str]:
    """The builds that were claimed after those before, in this order."""
    events = farm.ledger.connection.client.xrange("test:events")
    claimed = [fields["build"] for _, fields in events if fields["event"] == "claimed"]
    return claimed[len(before) :]


def test_builds_begin_by_least_slack_and_all_do(farm: Farm) -> None:
    slack = {"week": 7 * DAY_S, "hour": 3600.0, "over": -DAY_S}
    builds = [farm.build(name=name, batch=name) for name in slack]
    tied = [farm.build(name="week", batch="tied")]
    with occupied(farm) as before:
        orders = {name: due(in_s, farm) for name, in_s in slack.items()}
        submit_with(farm, orders, *builds, *tied)
    farm.wait(*builds, *tied, state=BuildState.SUCCEEDED)
    by_slack = sorted(builds, key=lambda build: slack[build.job])
    assert begun(farm, before) == [build.id for build in (*by_slack, *tied)]
    queued = f"test:celery:{QUEUE}*"
    assert eventually(lambda: not farm.ledger.connection.client.keys(queued)), "none is left over"


def test_a_hot_fix_comes_before_the_rest_of_a_matrix_and_the_matrix_goes_on(farm: Farm) -> None:
    matrix = [
        replace(farm.build(name="matrix", batch="matrix"), id=f"matrix-{number:03}")
        for number in range(MATRIX)
    ]
    with occupied(farm) as before:
        farm.submit(*matrix)
        (fix,) = farm.submit(farm.build(name="fix", batch="fix"))
        said = farm.command("why", "matrix-299").stdout
    assert f"It is number {MATRIX + 1} of {MATRIX + 1} there, behind about 12d" in said
    farm.wait(fix, state=BuildState.SUCCEEDED)
    assert eventually(lambda: len(begun(farm, before)) > 2)
    assert begun(farm, before)[:3] == ["matrix-000", fix.id, "matrix-001"]
    for build in matrix:
        farm.ledger.cancel(build.id, "seen enough")
    farm.wait(*matrix)


def test_an_old_build_of_low_priority_comes_before_newer_ones_of_a_higher(farm: Farm) -> None:
    client = farm.ledger.connection.client
    with occupied(farm) as before:
        (new,) = farm.submit(farm.build(name="new", priority=5))
        old, young = (
            farm.build(name="old", priority=0, batch="old"),
            farm.build(name="young", priority=0, batch="young"),
        )
        for build, waited_s in ((young, 29 * 3600), (old, 31 * 3600)):
            farm.submit(build)
            client.zincrby(f"test:waiting:{QUEUE}:order", -waited_s, build.id)
    farm.wait(new, old, young)
    assert begun(farm, before) == [old.id, new.id, young.id]


def test_what_this_host_must_not_build_holds_up_nothing_behind_it(farm: Farm) -> None:
    """What is no build, one that is not signed, one that is for another host."""
    key = str(host_key(farm.settings_of("one")).public)
    with occupied(farm) as before:
        forged = farm.build(name="forged", batch="forged", priority=8)
        farm.ledger.submit([forged])
        client = farm.ledger.connection.client
        client.hset("test:build:nothing", mapping={"state": "queued", "attempt": "1"})
        client.zadd(f"test:waiting:{QUEUE}:order", {"nothing": 1, "../nothing": 2})
        client.hset("test:build:../nothing", mapping={"state": "queued", "attempt": "1"})
        (foreign,) = farm.submit(
            farm.build(name="foreign", batch="foreign", priority=7, not_by=key)
        )
        (plain,) = farm.submit(farm.build(name="plain"))
    farm.wait(plain, state=BuildState.SUCCEEDED)
    assert begun(farm, before) == [plain.id]
    assert "it repeats a build of this host" in farm.ledger.refusals(foreign.id)["one"][1]
    assert "one" in farm.ledger.refusals(forged.id)
    farm.worker("two")
    farm.wait(foreign, state=BuildState.SUCCEEDED)
    assert farm.record(foreign).host == "two"
    assert farm.record(forged).state is BuildState.QUEUED


def test_every_build_is_built_once_whatever_the_order_of_messages(farm: Farm) -> None:
    """Each message names a build that others come before."""
    builds = [farm.build(name="job", priority=number, batch=f"b{number}") for number in range(5)]
    with occupied(farm) as before:
        farm.submit(*builds)
    records = farm.wait(*builds, state=BuildState.SUCCEEDED)
    assert {record.attempt for record in records} == {1}
    assert sorted(begun(farm, before)) == sorted(build.id for build in builds)
