"""Cancelled at every step boundary, and inside every kind of step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tasks.ledger.answers import CancelOutcome
from tasks.model import Build, BuildState, HookType, Source, SourceType
from tasks.worker.messages import send
from tests.farm import Farm, sleepers
from tests.farm_builds import hook, stop_reading
from tests.slow_server import slow_server
from tests.waiting import eventually

pytestmark = [pytest.mark.redis, pytest.mark.root]
Settled = Callable[..., None]


def test_cancelled_between_any_two_steps(farm: Farm, settled: Settled) -> None:
    """The messages after a step are taken away, so that the build stands still; then cancelled."""
    farm.worker("one")
    stop_reading(farm, "host.one")
    groups = [(hook("true"),), (hook("true", kind=HookType.OUTER_POST_CHROOT),)]
    client = farm.ledger.connection.client
    for last in range(4):
        (build,) = farm.submit(farm.build_of(*groups, name=f"after{last}"))
        for step in range(last + 1):
            assert eventually(lambda b=build, s=step: ended(farm, b, s))  # type: ignore[misc]
            assert eventually(lambda: client.rpop("test:celery:host.one"))
            if step < last:
                send(farm.app, build, 1, first=step + 1, host="any")
                client.rename("test:celery:host.any", "test:celery:x86-64bit.generic_64")
        assert farm.ledger.cancel(build.id, "enough") is CancelOutcome.ASKED
        settled(build, state=BuildState.CANCELLED)


def ended(farm: Farm, build: Build, step: int) -> bool:
    record = farm.record(build)
    return record.step == step and record.step_ended > 0


@pytest.fixture
def one(farm: Farm) -> Farm:
    farm.worker("one", slots=3)
    return farm


def test_cancelled_inside_a_hook_of_every_type(one: Farm, settled: Settled) -> None:
    deaf = "trap '' TERM INT HUP; (setsid sleep 600 & disown) ; sleep 600 & wait; sleep 600"
    builds = one.submit(*[one.build_of((hook(deaf, kind=kind),), name=kind) for kind in HookType])
    for build in builds:
        number = next(step.number for step in build.steps if step.hooks)
        one.wait_step(build, number)
        assert eventually(lambda: sleepers(one))
        assert one.ledger.cancel(build.id, "enough") is CancelOutcome.ASKED
        one.wait(build)
    settled(*builds, state=BuildState.CANCELLED)


def test_cancelled_inside_a_source(one: Farm, settled: Settled) -> None:
    with slow_server() as url:
        target = str(one.folder / "workspace/seeds/seed.tar")
        source = Source(type=SourceType.HTTP, uri=url, target=target)
        (build,) = one.submit(replace(one.build(name="source"), source=source))
        assert eventually(lambda: one.record(build).progress or one.record(build).step == 0)
        assert one.ledger.cancel(build.id, "enough") is CancelOutcome.ASKED
        settled(build, state=BuildState.CANCELLED)


def test_cancelled_while_packing(one: Farm, settled: Settled) -> None:
    big = "head -c 300000000 /dev/urandom > /big"
    build = one.build_of((hook(big),), name="pack")
    (build,) = one.submit(replace(build, output=replace(build.output, name="pack.tar.xz")))
    one.wait_step(build, 2)
    assert one.ledger.cancel(build.id, "enough") is CancelOutcome.ASKED
    settled(build, state=BuildState.CANCELLED)


def test_a_batch_is_cancelled_whole(one: Farm, settled: Settled) -> None:
    builds = one.submit(
        *[replace(one.build("sleep 600", name="batch"), batch="night") for _ in range(8)]
    )
    assert eventually(lambda: running(one, builds) == 3)
    said = one.command("cancel", "night", "--reason", "enough").stdout.splitlines()
    assert sorted(line.partition(": ")[2] for line in said) == sorted(
        ["stopping on its host"] * 3 + ["cancelled"] * 5
    )
    settled(*builds, state=BuildState.CANCELLED)


def running(farm: Farm, builds: list[Build]) -> int:
    records = farm.ledger.records(build.id for build in builds)
    return sum(record.state is BuildState.RUNNING for record in records)
