"""Redis killed, restarted, and its connections cut, at the worst moments."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from tasks.errors import FarmUnreachable
from tasks.model import Build
from tests.farm import Farm
from tests.farm_builds import attempts_begun, go, hanging, hangs, hook
from tests.waiting import eventually

pytestmark = [pytest.mark.redis, pytest.mark.root]
Settled = Callable[..., None]


def test_redis_restarts_in_the_middle_of_a_step(farm: Farm, settled: Settled) -> None:
    farm.start(["supervisor"])
    farm.worker("one")
    (build,) = farm.submit(hanging(farm, "while ! test -e go; do sleep 0.1; done"))
    hangs(farm, build)
    farm.redis.kill()
    farm.redis.start()
    (farm.folder / f"hosts/one/builds/{build.id}.1/context/go").touch()
    settled(build)
    assert attempts_begun(farm, build) == ["1"], "as if nothing had happened"


def test_a_step_that_ends_while_redis_is_away_is_not_done_again(
    farm: Farm, settled: Settled
) -> None:
    farm.start(["supervisor"])
    farm.worker("one")
    (build,) = farm.submit(hanging(farm, "while ! test -e go; do sleep 0.1; done"))
    hangs(farm, build)
    home = farm.folder / f"hosts/one/builds/{build.id}.1"
    farm.redis.kill()
    (home / "context/go").touch()
    journal = home / "journal.jsonl"
    assert eventually(lambda: journal.exists() and '"step":1' in journal.read_text())
    farm.redis.start()
    settled(build)
    assert attempts_begun(farm, build) == ["1"]


class Unit:
    """A worker that is started again where it has failed, as systemd does: kombu gives up where
    Redis dies once more while it closes the connection from before."""

    def __init__(self, farm: Farm) -> None:
        self._farm = farm
        self._process = farm.worker("one", slots=2)

    def keep_up(self) -> None:
        if self._process.poll():
            self._process = self._farm.worker("one", slots=2)

    def see_through(self, builds: list[Build]) -> None:
        """Keep it up until all `builds` have ended."""

        def ended() -> bool:
            self.keep_up()
            records = self._farm.ledger.records(build.id for build in builds)
            return all(record.state.ended for record in records)

        assert eventually(ended, 60.0), self._farm.logs()


def back(farm: Farm, host: str, unit: Unit | None = None) -> bool:
    """Whether the worker of `host` finds its way to Redis again."""
    with farm.redis.client() as client:
        before = client.zscore("test:hosts", host)

        def is_back() -> bool:
            if unit:
                unit.keep_up()
            return bool(client.zscore("test:hosts", host) != before)

        return eventually(is_back)


def test_redis_dies_again_and_again_while_builds_run(farm: Farm, settled: Settled) -> None:
    farm.start(["supervisor"])
    unit = Unit(farm)
    tell = hook("echo $PWD >> $MARKDEVKIT_WORKSPACE/../notes; sleep 0.2")
    builds = farm.submit(*[farm.build_of((tell,), (tell,), name="many") for _ in range(4)])
    for _ in range(4):
        farm.redis.kill()
        farm.redis.start()
        assert back(farm, "one", unit)
    unit.see_through(builds)
    settled(*builds)  # a cut may cost an attempt where the machine is slow, and never a build
    assert all(record.attempt <= farm.settings.attempts_max for record in farm.wait(*builds))


def test_every_connection_is_cut_again_and_again(farm: Farm, settled: Settled) -> None:
    farm.quick["lease_s"] = 30.0
    farm.start(["supervisor"])
    unit = Unit(farm)
    builds = farm.submit(*[farm.build("sleep 0.3", name="cut") for _ in range(6)])
    with farm.redis.client() as client:
        for _ in range(12):
            for kind in ("normal", "pubsub"):
                client.client_kill_filter(_type=kind, skipme=True)
            assert back(farm, "one", unit)
    unit.see_through(builds)
    settled(*builds)  # a cut may cost an attempt where the machine is slow, and never a build
    assert all(record.attempt <= farm.settings.attempts_max for record in farm.wait(*builds))


def test_redis_dies_during_submission(farm: Farm, settled: Settled) -> None:
    """What the ledger took is built, whether its message was sent or not."""
    wanted = [farm.build(name="half") for _ in range(300)]
    submitting = threading.Thread(target=submit_until_it_breaks, args=(farm, wanted))
    submitting.start()
    assert eventually(lambda: farm.ledger.connection.client.zcard("test:builds") > 0)
    farm.redis.kill()
    submitting.join()
    farm.redis.start()
    known = [build for build in wanted if farm.ledger.knows(build.id)]
    assert known
    for build in known[8:]:
        farm.ledger.cancel(build.id, "eight are enough")
    farm.start(["supervisor"])
    farm.worker("one", slots=4)
    settled(*known[:8])


def submit_until_it_breaks(farm: Farm, builds: list[Build]) -> None:
    try:
        farm.submit(*builds)
    except FarmUnreachable:
        return


def test_a_worker_started_before_redis_says_so(farm: Farm) -> None:
    farm.redis.kill()
    said = farm.command("worker", "--queue", "x86-64bit.generic_64")
    assert said.returncode == 4
    assert "does not answer" in said.stderr
    go(farm)
