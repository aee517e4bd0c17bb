"""Nights are made once, however many supervisors look, and wherever one of them dies."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.farm.nights import make, prepare_slot
from orchestrator.farm.scheduled_nights import PAUSE_S, ScheduledNights
from orchestrator.formats.batchfile import Line
from orchestrator.nights.files import schedules_in
from orchestrator.nights.slots import coming
from tasks.ledger.schedules import Schedules, ScheduleState
from tasks.model import BuildState
from tests.farm import LIMIT_S, QUICK, Farm
from tests.redis_server import RedisServer
from tests.waiting import eventually

pytestmark = pytest.mark.redis

SPEC = """
jobs:
- name: base
  source: {{type: file, path: {seed}}}
  output: {{type: file, name: base.tar, dir: {out}}}
  workspacedir: {out}/workspace
  options: {{arch: x86-64bit, subarch: generic_64}}
- name: full
  source: {{type: file, path: {out}/base.tar}}
  output: {{type: file, name: 'full-{{{{ now | date "20060102" }}}}.tar', dir: {out}}}
  workspacedir: {out}/workspace
  options: {{arch: x86-64bit, subarch: generic_64}}
"""
BATCH = """
name: night
schedule: {{cron: "{cron}", timezone: Europe/Berlin{more}}}
release: stages
builds:
- {{specfile: specs/stages.yaml, job: base}}
- {{specfile: specs/stages.yaml, job: full}}
"""
EVENING = datetime(2026, 1, 5, 18, tzinfo=UTC)
NIGHT = datetime(2026, 1, 6, 1, 30, 5, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def farm(tmp_path: Path, seed: Path) -> Iterator[Farm]:
    folder = tmp_path / "batches"
    (folder / "specs").mkdir(parents=True)
    (folder / "specs/stages.yaml").write_text(SPEC.format(seed=seed, out=tmp_path / "out"))
    farm = Farm(
        tmp_path,
        seed,
        RedisServer(tmp_path / "redis"),
        quick={**QUICK, "schedule_dir": str(folder)},
    )
    farm.redis.start()
    try:
        yield farm
    finally:
        farm.end()


def write(farm: Farm, name: str = "nightly", cron: str = "30 2 * * *", more: str = "") -> Path:
    file = Path(farm.settings.schedule_dir, f"{name}.yaml")
    file.write_text(BATCH.format(cron=cron, more=more and f", {more}"))
    return file


def supervisor(farm: Farm, said: list[str] | None = None) -> ScheduledNights:
    """The duty of a supervisor that has just started."""
    say = print if said is None else said.append
    return ScheduledNights(farm.settings, farm.ledger, farm.app, say)


def state(farm: Farm, name: str = "nightly") -> ScheduleState:
    return Schedules(farm.ledger.connection).state(name)


def nights(farm: Farm) -> list[str]:
    return sorted(farm.ledger.batches())


def messages(farm: Farm) -> int:
    with farm.redis.client() as client:
        keys = list(client.scan_iter("test:celery:x86-64bit*"))
        return sum(int(client.llen(key)) for key in keys)  # type: ignore[arg-type]


def test_each_night_is_made_once_whoever_looks(farm: Farm) -> None:
    file = write(farm)
    supervisor(farm).go_on(EVENING)
    assert nights(farm) == []
    for _ in range(2):
        supervisor(farm).go_on(NIGHT)
    assert nights(farm) == ["night-20260106T0130Z"]
    builds = [farm.ledger.build(one) for one in farm.ledger.batch("night-20260106T0130Z")]
    assert [build.job for build in builds] == ["base", "full"]
    assert [build.after for build in builds] == ["", builds[0].id]
    assert {build.folder for build in builds} == {str(file.parent)}
    assert {build.release for build in builds} == {"stages"}
    assert builds[1].output.name == "full-20260106.tar"
    assert messages(farm) == 1
    assert state(farm).night == "night-20260106T0130Z"


def test_of_two_supervisors_that_are_at_it_at_once_one_makes_the_night(farm: Farm) -> None:
    write(farm)
    (file,) = schedules_in(Path(farm.settings.schedule_dir))
    (slot,) = coming(file.lines, EVENING, 1)
    one, other = (prepare_slot(file, slot, farm.ledger, farm.settings) for _ in range(2))
    assert [make(one, farm.ledger, farm.app), make(other, farm.ledger, farm.app)] == [True, False]
    assert farm.ledger.batch(one.id) == [build.id for build in one.builds]
    ours = (one.schedule, one.slot, one.id, one.builds, one.signatures)
    assert Schedules(farm.ledger.connection).make_night(*ours), "the answer was lost, it asks again"
    assert len(farm.ledger.batch(one.id)) == 2


DIES = """
import os, signal
from datetime import datetime
import orchestrator.farm.nights as nights
from orchestrator.farm.scheduled_nights import ScheduledNights
from tasks.app import app
from tasks.ledger.builds import Ledger
from tasks.ledger.schedules import Schedules
from tasks.settings import current
def die(*_, **__): os.kill(os.getpid(), signal.SIGKILL)
{place} = die
ledger = Ledger.open(current())
ScheduledNights(current(), ledger, app, print).go_on(datetime.fromisoformat("{now}"))
"""


def die_at(farm: Farm, place: str, now: datetime) -> None:
    """A supervisor is killed when it comes to `place`."""
    died = subprocess.run(
        [sys.executable, "-c", DIES.format(place=place, now=now.isoformat())],
        env=farm.environment("tester", "supervisor"),
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr


def test_a_supervisor_killed_before_the_night_is_in_the_ledger_leaves_nothing_of_it(
    farm: Farm,
) -> None:
    write(farm)
    supervisor(farm).go_on(EVENING)
    die_at(farm, "Schedules.make_night", NIGHT)
    assert nights(farm) == []
    supervisor(farm).go_on(NIGHT + timedelta(minutes=2))
    assert nights(farm) == ["night-20260106T0130Z"]
    assert messages(farm) == 1


@pytest.mark.root
def test_a_night_whose_supervisor_is_killed_after_that_is_built_by_the_next(
    farm: Farm, can_isolate: None, host_unchanged: None
) -> None:
    write(farm)
    supervisor(farm).go_on(EVENING)
    die_at(farm, "nights.send", NIGHT)
    (night,) = nights(farm)
    builds = [farm.ledger.build(one) for one in farm.ledger.batch(night)]
    assert (len(builds), messages(farm)) == (2, 0)
    for _ in range(2):
        farm.start(["supervisor"], "one")
    farm.worker("one")
    farm.wait(*builds, state=BuildState.SUCCEEDED)
    assert farm.ledger.batch(night) == [build.id for build in builds]


def test_missed_nights_are_caught_up_once_or_skipped(farm: Farm) -> None:
    write(farm, "nightly")
    write(farm, "other", more="missed: skip")
    other = Path(farm.settings.schedule_dir, "other.yaml")
    other.write_text(other.read_text().replace("name: night", "name: other"))
    supervisor(farm).go_on(EVENING)
    for minutes in (60, 120):
        supervisor(farm).go_on(NIGHT + 4 * DAY + timedelta(minutes=minutes))
    assert nights(farm) == ["night-20260110T0130Z"]
    assert "no supervisor looked" in state(farm, "other").said
    supervisor(farm).go_on(NIGHT + 5 * DAY)
    assert nights(farm) == ["night-20260110T0130Z", "other-20260111T0130Z"]
    assert "night-20260110T0130Z had not ended" in state(farm).said


def test_a_night_waits_for_the_one_before(farm: Farm) -> None:
    write(farm, more="overlap: wait, missed: skip")
    said: list[str] = []
    supervisor(farm).go_on(EVENING)
    supervisor(farm).go_on(NIGHT)
    for hours in (0, 1):
        supervisor(farm, said).go_on(NIGHT + DAY + timedelta(hours=hours))
    assert len(nights(farm)) == 1
    assert len(said) == 1
    assert "waits for the end of night-20260106T0130Z" in state(farm).said
    for build in farm.ledger.batch(nights(farm)[0]):
        farm.ledger.cancel(build, "enough")
    supervisor(farm).go_on(NIGHT + DAY + timedelta(hours=2))
    assert nights(farm) == ["night-20260106T0130Z", "night-20260107T0130Z"]
    assert (state(farm).waits, state(farm).said) == (0, "")


def test_a_paused_schedule_makes_no_nights_and_catches_none_up(farm: Farm) -> None:
    write(farm, more="overlap: allow")
    schedules = Schedules(farm.ledger.connection)
    supervisor(farm).go_on(EVENING)
    schedules.pause("nightly", (NIGHT + DAY).timestamp())
    supervisor(farm).go_on(NIGHT)
    assert "paused" in state(farm).said
    supervisor(farm).go_on(NIGHT + DAY)
    assert nights(farm) == ["night-20260107T0130Z"]
    schedules.pause("nightly")
    schedules.resume("nightly", (NIGHT + 3 * DAY).timestamp())
    supervisor(farm).go_on(NIGHT + 3 * DAY)
    assert nights(farm) == ["night-20260107T0130Z"]


def test_a_broken_file_is_told_and_holds_up_no_other(farm: Farm) -> None:
    write(farm)
    broken = write(farm, "broken", cron="99 2 * * *")
    same = write(farm, "same")
    said: list[str] = []
    supervisor(farm, said).go_on(EVENING)
    assert "another file has the batch 'night' too" in state(farm).broken
    same.unlink()
    duty = supervisor(farm, said)
    duty.go_on(EVENING)
    said.clear()
    duty.go_on(NIGHT)
    assert [line for line in said if "broken" in line] == [], "it was said already"
    assert nights(farm) == ["night-20260106T0130Z"]
    assert f"{broken}:3:18: " in state(farm, "broken").broken
    assert Schedules(farm.ledger.connection).names() == ["broken", "nightly"]


def test_a_night_that_cannot_be_made_is_made_once_it_is_mended(farm: Farm) -> None:
    write(farm)
    spec = Path(farm.settings.schedule_dir, "specs/stages.yaml")
    good = spec.read_text()
    duty = supervisor(farm)
    duty.go_on(EVENING)
    spec.write_text(good.replace("name: full", "name: fool"))
    duty.go_on(NIGHT)
    assert "has no job 'full'" in state(farm).error
    spec.write_text(good)
    duty.go_on(NIGHT + timedelta(seconds=PAUSE_S - 1))
    assert nights(farm) == []
    duty.go_on(NIGHT + timedelta(seconds=PAUSE_S))
    assert nights(farm) == ["night-20260106T0130Z"]
    assert state(farm).error == ""


def test_a_file_that_goes_and_comes_back_is_still_paused(farm: Farm) -> None:
    file = write(farm)
    schedules = Schedules(farm.ledger.connection)
    supervisor(farm).go_on(EVENING)
    schedules.pause("nightly")
    file.unlink()
    supervisor(farm).go_on(EVENING)
    assert schedules.names() == []
    write(farm)
    supervisor(farm).go_on(NIGHT)
    assert state(farm).is_paused(NIGHT.timestamp())
    assert nights(farm) == []


def test_new_lines_catch_up_nothing_from_before_they_were_there(farm: Farm) -> None:
    write(farm)
    supervisor(farm).go_on(EVENING)
    write(farm, cron="0 3 * * *")
    supervisor(farm).go_on(NIGHT + timedelta(hours=2))
    assert nights(farm) == []
    supervisor(farm).go_on(NIGHT + timedelta(hours=25))
    assert nights(farm) == ["night-20260107T0200Z"]


def test_whoever_writes_to_redis_cannot_have_a_night_made_again(farm: Farm) -> None:
    write(farm)
    duty = supervisor(farm)
    duty.go_on(EVENING)
    duty.go_on(NIGHT)
    with farm.redis.client() as client:
        client.hset("test:schedule:nightly", mapping={"last": 0, "night": ""})
        client.delete("test:batch:night-20260106T0130Z:builds")
    duty.go_on(NIGHT + timedelta(minutes=1))
    assert farm.ledger.batch("night-20260106T0130Z") == []


def ask(farm: Farm, *words: str, command: str = "schedule") -> list[dict[str, object]]:
    """What `stagefarm schedule` says as the user that `command` is for."""
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", "schedule", *words, "--json"],
        env=farm.environment("tester", command),
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return found if isinstance(found, list) else [found]


def test_the_commands_with_the_supervisor(farm: Farm) -> None:
    write(farm)
    farm.start(["supervisor"], "one")
    schedules = Schedules(farm.ledger.connection)
    assert eventually(lambda: schedules.names() == ["nightly"], LIMIT_S), farm.logs()
    (listed,) = ask(farm, "list", command="status")
    assert (listed["state"], listed["schedule"]) == ("on", ["30 2 * * * Europe/Berlin"])
    slots = coming([Line(cron="30 2 * * *", timezone="Europe/Berlin")], datetime.now(UTC), 3)
    shown = ask(farm, "next", "--count", "3", command="status")
    assert [one["at"] for one in shown] == [slot.at.isoformat() for slot in slots]
    (made,) = ask(farm, "run", "nightly")
    assert nights(farm) == [made["night"]]
    assert farm.ledger.batch(str(made["night"])) == made["builds"]
    assert str(made["night"]) in farm.command("status", "--batches").stdout
    (paused,) = ask(farm, "pause", "nightly", "--until", "2999-01-01T00:00:00+00:00")
    assert paused["state"] == "paused"
    assert str(paused["next"]).startswith("2999-01-01T02:30")
    (resumed,) = ask(farm, "resume", "nightly")
    assert resumed["state"] == "on"
    (one,) = ask(farm, "show", "nightly", command="status")
    assert one["night"] == made["night"]


def test_mistakes_of_its_user_are_told(farm: Farm) -> None:
    write(farm)
    supervisor(farm).go_on(EVENING)
    for words, expected in {
        ("show", "nigthly"): "did you mean nightly?",
        ("pause", "nightly", "--until", "2001-01-01"): "is over",
        ("pause", "nightly", "--until", "soon"): "--until: 'soon' is not a time",
        ("run", "nigthly"): "did you mean `nightly`?",
    }.items():
        done = farm.command("schedule", *words)
        assert done.returncode == 2
        assert expected in done.stderr
