"""Messages that come twice, late, or not at all."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tasks.errors import Stale
from tasks.host.locks import try_lock_folder
from tasks.ledger.answers import Holder
from tasks.ledger.hosts import Hosts
from tasks.model import BuildState
from tasks.rootfs.workspace import Workspace
from tasks.settings import Settings
from tasks.worker.messages import send
from tasks.worker.refusals import Refusals
from tasks.worker.step_runner import StepRunner
from tests.farm import QUEUE, Farm, lose_power
from tests.farm_builds import attempts_begun, go, hanging, hangs, read_again, stop_reading
from tests.waiting import eventually

pytestmark = [pytest.mark.redis, pytest.mark.root]
Settled = Callable[..., None]


def test_every_message_delivered_twice(farm: Farm, settled: Settled) -> None:
    go(farm)
    builds = farm.submit(*[hanging(farm, name="twice") for _ in range(3)])
    for build in builds:
        send(farm.app, build, 1)
    farm.worker("one", slots=2)
    farm.worker("two", slots=2)
    settled(*builds)
    for build in builds:
        assert attempts_begun(farm, build) == ["1"]


def test_a_message_that_comes_twice_leaves_the_files_of_the_first_alone(farm: Farm) -> None:
    (build,) = farm.submit(farm.build())
    settings, holder = farm.settings_of("one"), Holder("one", "life-1")
    home = Workspace.home_on_farm(build.id, 1, settings)
    home.mkdir(parents=True)
    being_written = home / ".job.json.partial"
    with try_lock_folder(home):
        being_written.touch()
        with pytest.raises(Stale, match="another message of this attempt is being handled"):
            runner_of(farm, settings, holder).do(build.id, 1, 0)
        assert being_written.exists()
    assert (record := farm.ledger.record(build.id)).state is BuildState.RUNNING
    assert record.attempt == 1


def runner_of(farm: Farm, settings: Settings, holder: Holder) -> StepRunner:
    def nothing(*_: object) -> None:
        pass

    refusals = Refusals(Hosts(farm.ledger.connection), farm.ledger, holder.host, settings.lease_s)
    send = (nothing, nothing, nothing, nothing)
    return StepRunner(settings, farm.ledger, holder, (QUEUE,), refusals, *send)


def test_messages_of_every_step_sent_again_while_it_runs(farm: Farm, settled: Settled) -> None:
    farm.worker("one", slots=2)
    (build,) = farm.submit(hanging(farm, "while ! test -e go; do sleep 0.1; done"))
    hangs(farm, build)
    for first in range(len(build.steps)):
        send(farm.app, build, 1, first=first, host="one")
    send(farm.app, build, 1)
    (farm.folder / f"hosts/one/builds/{build.id}.1/context/go").touch()
    settled(build)
    assert attempts_begun(farm, build) == ["1"]


def test_a_message_lost_on_its_way_is_sent_again(farm: Farm, settled: Settled) -> None:
    (build,) = farm.submit(farm.build(name="lost"))
    client = farm.ledger.connection.client
    (queue,) = client.keys("test:celery:x86-64bit.generic_64*")
    assert client.rpop(queue)
    farm.worker("one")
    farm.start(["supervisor"])
    settled(build)


def test_a_message_of_a_later_step_lost_is_sent_again(farm: Farm, settled: Settled) -> None:
    one = farm.worker("one")
    (build,) = farm.submit(hanging(farm, "while ! test -e go; do sleep 0.1; done"))
    hangs(farm, build)
    # The worker reads its own queue no more, so that the next message can be lost.
    stop_reading(farm, "host.one")
    (farm.folder / f"hosts/one/builds/{build.id}.1/context/go").touch()
    client = farm.ledger.connection.client
    assert eventually(lambda: client.rpop("test:celery:host.one")), farm.logs()
    read_again(farm, "host.one")
    settled(build)
    assert attempts_begun(farm, build) == ["1"]
    assert one.poll() is None


def test_messages_of_an_old_attempt_arrive_late(farm: Farm, settled: Settled) -> None:
    one = farm.worker("one")
    (build,) = farm.submit(hanging(farm))
    hangs(farm, build)
    lose_power(one)
    farm.worker("one")
    hangs(farm, build, attempt=2)
    for first in range(len(build.steps)):
        send(farm.app, build, 1, first=first)
        send(farm.app, build, 1, first=first, host="one")
    farm.worker("two")
    assert eventually(lambda: not farm.ledger.connection.client.keys("test:celery:x86*"))
    farm.ledger.cancel(build.id, "seen enough")
    settled(build, state=BuildState.CANCELLED)
    assert attempts_begun(farm, build) == ["1", "2"]
