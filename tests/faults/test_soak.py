"""Many builds, many faults at points chosen at random from a printed seed.

`make test` runs the short form, `make soak` the long one (SOAK_BUILDS, SOAK_FAULTS). SOAK_SEED
repeats the choices of an earlier run.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from tasks.ledger.hosts import Hosts
from tasks.model import Build, BuildState, HookType
from tasks.worker.messages import send
from tests.farm import Farm, kill_all, lose_power, pool_children
from tests.farm_builds import hook
from tests.faults.conftest import ended_once, nothing_left, published_once
from tests.waiting import eventually

pytestmark = [pytest.mark.redis, pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(1500)]

BUILDS = int(os.environ.get("SOAK_BUILDS", "16"))
FAULTS = int(os.environ.get("SOAK_FAULTS", "8"))
SEED = int(os.environ.get("SOAK_SEED", random.randrange(10**6)))
LIMIT_S = float(os.environ.get("SOAK_LIMIT_S", "240"))
HOSTS = ("one", "two", "three", "four")


@dataclass
class Soak:
    """A farm of four hosts and two supervisors under attack."""

    farm: Farm
    dice: random.Random
    workers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    supervisors: list[subprocess.Popen[bytes]] = field(default_factory=list)
    builds: list[Build] = field(default_factory=list)
    cancelled: set[str] = field(default_factory=set)
    done: Counter[str] = field(default_factory=Counter)

    def begin(self) -> None:
        self.supervisors = [self.farm.start(["supervisor"]) for _ in range(2)]
        for host in HOSTS:
            self.workers[host] = self.farm.worker(host, slots=2)
        builds = [self.a_build() for _ in range(BUILDS)]
        for number in range(3, BUILDS, 4):
            builds[number] = starts_from(builds[number - 3], builds[number])
        self.builds = self.farm.submit(*builds)

    def a_build(self) -> Build:
        note = f"echo $PWD >> {self.farm.folder}/notes; sleep {self.dice.uniform(0, 1):.2f}"
        kinds = [HookType.OUTER_PRE_SOURCER, HookType.OUTER_PRE_CHROOT, HookType.OUTER_POST_CHROOT]
        noted = (hook(note, kind=self.dice.choice(kinds)),)
        inside = (hook(f"sleep {self.dice.uniform(0, 0.5):.2f}"),)
        return self.farm.build_of(noted, inside, name="soak")

    def attack(self) -> None:
        """One fault, once enough builds have ended that the faults spread over the whole run."""
        due = len(self.builds) * self.done.total() // (FAULTS + 2)
        assert eventually(lambda: self.ended() >= due, LIMIT_S), self.farm.logs()
        threading.Event().wait(self.dice.uniform(0, 0.7))
        fault = self.dice.choice(self.faults())
        self.done[fault.__name__] += 1
        fault()

    def faults(self) -> list[Callable[[], None]]:
        return [
            *(self.kill_main, self.power_loss, self.kill_child, self.stop_and_start),
            *(self.restart_redis, self.cut_connections, self.kill_supervisor),
            *(self.send_twice, self.lose_message, self.cancel, self.drain_for_a_while),
        ]

    def ended(self) -> int:
        records = self.farm.ledger.records(build.id for build in self.builds)
        return sum(record.state.ended for record in records)

    # The faults

    def host(self) -> str:
        return self.dice.choice(HOSTS)

    def again(self, host: str) -> None:
        self.workers[host] = self.farm.worker(host, slots=2)

    def kill_main(self) -> None:
        host = self.host()
        self.workers[host].kill()
        self.workers[host].wait()
        self.again(host)

    def power_loss(self) -> None:
        host = self.host()
        lose_power(self.workers[host])
        self.again(host)

    def kill_child(self) -> None:
        if children := pool_children(self.workers[self.host()]):
            kill_all([self.dice.choice(children)])

    def stop_and_start(self) -> None:
        host = self.host()
        self.workers[host].send_signal(signal.SIGTERM)
        assert self.workers[host].wait(60) == 0
        self.again(host)

    def restart_redis(self) -> None:
        self.farm.redis.kill()
        threading.Event().wait(self.dice.uniform(0, 1))
        self.farm.redis.start()

    def cut_connections(self) -> None:
        with self.farm.redis.client() as client:
            for kind in ("normal", "pubsub"):
                client.client_kill_filter(_type=kind, skipme=True)

    def kill_supervisor(self) -> None:
        victim = self.dice.randrange(2)
        self.supervisors[victim].kill()
        self.supervisors[victim] = self.farm.start(["supervisor"])

    def send_twice(self) -> None:
        build = self.dice.choice(self.builds)
        send(self.farm.app, build, self.farm.record(build).attempt)

    def lose_message(self) -> None:
        client = self.farm.ledger.connection.client
        if queues := client.keys("test:celery:x86-64bit.generic_64*"):
            client.rpop(self.dice.choice(sorted(queues)))

    def cancel(self) -> None:
        build = self.dice.choice(self.builds)
        self.farm.ledger.cancel(build.id, "soaked")
        self.cancelled.add(build.id)

    def drain_for_a_while(self) -> None:
        hosts, host = Hosts(self.farm.ledger.connection), self.host()
        hosts.drain(host)
        threading.Event().wait(self.dice.uniform(0, 1))
        hosts.undrain(host)


def starts_from(first: Build, build: Build) -> Build:
    """`build`, from what `first` makes."""
    source = replace(build.source, path=f"{first.output.dir}/{first.output.name}")
    return replace(build, source=source, after=first.id)


def test_soak(farm: Farm, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\nsoak: SOAK_SEED={SEED}, {BUILDS} builds, {FAULTS} faults")
    farm.quick |= {"attempts_max": 50, "resend_s": 3.0}
    soak = Soak(farm, random.Random(SEED))
    soak.begin()
    while soak.done.total() < FAULTS:
        soak.attack()
    records = until_all_ended(farm, soak)
    states = Counter(str(record.state) for record in records)
    with capsys.disabled():
        attempts = sum(record.attempt for record in records)
        print(f"soak: {dict(soak.done)}; {dict(states)} in {attempts} attempts")
    unhurt = [record for record in records if not {record.id, record.after} & soak.cancelled]
    assert {r.state for r in unhurt} == {BuildState.SUCCEEDED}, f"{unhurt}\n{farm.logs()}"
    ended_once(farm, *soak.builds)
    published_once(farm, *soak.builds)
    nothing_left(farm)
    begun = Counter((farm.folder / "notes").read_text().splitlines())
    assert {place: times for place, times in begun.items() if times > 1} == {}


def until_all_ended(farm: Farm, soak: Soak) -> list:  # type: ignore[type-arg]
    assert eventually(lambda: soak.ended() == len(soak.builds), LIMIT_S), [
        str(r) for r in farm.ledger.records(b.id for b in soak.builds) if not r.state.ended
    ]
    return farm.ledger.records(build.id for build in soak.builds)
