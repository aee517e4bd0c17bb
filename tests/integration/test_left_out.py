"""Nights leave out what has not changed, where the batch says so, and what fails all the time."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.farm.retry import retry
from orchestrator.farm.scheduled_nights import ScheduledNights
from tasks.ledger.answers import ClaimedAttempt, Holder
from tasks.ledger.schedules import Schedules
from tasks.ledger.stages import Stages, StageState, Standing
from tasks.model import Build, BuildState, encode
from tests.farm import QUICK, Farm
from tests.redis_server import RedisServer
from tests.webserver import serving

pytestmark = pytest.mark.redis

SPEC = """
jobs:
- name: base
  source: {{type: file, path: "{seed}", sha256: "{sha}"}}
  output: {{type: file, name: base.tar, dir: {out}}}
  workspacedir: {out}/workspace
  options: {{arch: x86-64bit, subarch: generic_64, word: {word}}}
- name: full
  source: {{type: file, path: {out}/base.tar}}
  output: {{type: file, name: 'full-{{{{ now | date "20060102" }}}}.tar', dir: {out}}}
  workspacedir: {out}/workspace
  options: {{arch: x86-64bit, subarch: generic_64, word: {full}}}
"""
BATCH = """
name: night
schedule: {{cron: "0 1 * * *", overlap: allow}}
{rules}
builds:
- {{specfile: specs/stages.yaml, max_age: {max_age}}}
"""
RELEASE = """
targets: [{{to: {folder}/mirror, url: "https://example.org/"}}]
stages:
- {{jobs: [base], max_age: 7d}}
- {{jobs: [full]}}
"""
SHA = "a" * 64
SKIP = "unchanged: skip"
BASE, FULL = "base x86-64bit.generic_64", "full x86-64bit.generic_64"


class Nights:
    """A farm whose clock is a number of nights, and whose builds end as the test says."""

    def __init__(self, farm: Farm) -> None:
        self.farm = farm
        self.said: list[str] = []
        self.duty = ScheduledNights(farm.settings, farm.ledger, farm.app, self.said.append)
        self.first = datetime.fromtimestamp(farm.ledger.now(), UTC).replace(
            hour=1, minute=0, second=0
        )
        self.count = 0
        self.last: dict[str, Build] = {}

    @property
    def folder(self) -> Path:
        return Path(self.farm.settings.schedule_dir)

    def write(
        self, rules: str, *, word: str = "a", full: str = "a", sha: str = SHA, max_age: str = "7d"
    ) -> None:
        out = self.farm.folder / "out"
        text = SPEC.format(seed=self.farm.seed, sha=sha, out=out, word=word, full=full)
        (self.folder / "specs/stages.yaml").write_text(text)
        (self.folder / "nightly.yaml").write_text(BATCH.format(rules=rules, max_age=max_age))
        if not self.count:
            self.duty.go_on(self.first - timedelta(hours=1))

    def next(self) -> dict[str, Build]:
        """The builds of the next night, by job."""
        self.count += 1
        before = set(self.farm.ledger.batches())
        self.duty.go_on(self.first + timedelta(days=self.count, seconds=5))
        made = set(self.farm.ledger.batches()) - before
        ids = [one for night in made for one in self.farm.ledger.batch(night)]
        self.last = {build.job: build for build in map(self.farm.ledger.build, ids)}
        return self.last

    def end(self, build: Build, *, well: bool = True) -> None:
        """Let a host end the build."""
        ledger = self.farm.ledger
        attempt = ledger.record(build.id).attempt
        claim = ClaimedAttempt(build.id, attempt, Holder("one", "life"))
        assert ledger.claim(claim, 60.0) == "claimed"
        ended = ledger.finish(claim, (), "") if well else ledger.fail(claim, "HookFailed", "x", "")
        assert ended == "ok"

    def end_all(self, builds: dict[str, Build]) -> None:
        for build in builds.values():
            self.end(build)

    def standing(self, stage: str) -> Standing:
        return Stages(self.farm.ledger.connection).of("nightly")[stage].standing


@pytest.fixture
def nights(tmp_path: Path, seed: Path) -> Iterator[Nights]:
    folder = tmp_path / "batches"
    (folder / "specs").mkdir(parents=True)
    quick = {**QUICK, "schedule_dir": str(folder), "release_dir": str(tmp_path / "releases")}
    farm = Farm(tmp_path, seed, RedisServer(tmp_path / "redis"), quick=quick)
    farm.redis.start()
    try:
        yield Nights(farm)
    finally:
        farm.end()


def test_what_is_unchanged_is_left_out_up_to_its_max_age(nights: Nights) -> None:
    nights.write(SKIP)
    first = nights.next()
    nights.end_all(first)
    assert nights.next() == {}
    assert "0 builds, 2 unchanged" in nights.said[-1]
    state = Schedules(nights.farm.ledger.connection).state("nightly")
    assert state.said == "nothing was built: 2 unchanged"
    assert state.night.endswith(first["base"].batch[-14:]), "the last night that has builds"
    for _ in range(5):
        assert nights.next() == {}
    # Left out once more, it would be older than seven days before the night after.
    assert set(nights.next()) == {"base", "full"}


def test_the_release_file_may_say_how_old_a_stage_may_be(nights: Nights, tmp_path: Path) -> None:
    releases = Path(nights.farm.settings.release_dir)
    releases.mkdir()
    (releases / "stages.yaml").write_text(RELEASE.format(folder=tmp_path))
    for release, built in (("other", {"base", "full"}), ("stages", {"full"})):
        nights.write(f"release: {release}\n{SKIP}", max_age="0")
        nights.end_all(nights.next())
        assert set(nights.next()) == built
        nights.end_all(nights.last)


def test_a_batch_in_which_nothing_could_be_left_out_is_told(nights: Nights) -> None:
    nights.write(SKIP, max_age="0")
    checked = nights.farm.command("validate", str(nights.folder / "nightly.yaml"))
    assert "nightly.yaml:4:12: unchanged: nothing is left out" in checked.stderr


def test_by_default_all_is_built(nights: Nights) -> None:
    nights.write("")
    nights.end_all(nights.next())
    assert set(nights.next()) == {"base", "full"}


Change = Callable[[Nights], None]


@pytest.mark.parametrize(
    ("change", "built"),
    [
        (lambda nights: nights.write(SKIP, word="b"), {"base", "full"}),
        (lambda nights: nights.write(SKIP, sha="b" * 64), {"base", "full"}),
        (lambda nights: nights.write(SKIP, full="b"), {"full"}),
        (lambda nights: nights.write("release: none\n" + SKIP), set()),
    ],
    ids=["an option", "the seed", "the follower", "nothing that is built"],
)
def test_what_has_changed_is_built(nights: Nights, change: Change, built: set[str]) -> None:
    nights.write(SKIP)
    first = nights.next()
    nights.end_all(first)
    change(nights)
    second = nights.next()
    assert set(second) == built
    if built == {"full"}:
        assert second["full"].after == first["base"].id, "it starts from the last good one"
        assert nights.farm.ledger.record(second["full"].id).state == "queued"


def test_what_failed_is_built_again_though_nothing_has_changed(nights: Nights) -> None:
    nights.write(SKIP)
    first = nights.next()
    nights.end(first["base"])
    nights.end(first["full"], well=False)
    second = nights.next()
    assert set(second) == {"full"}
    nights.end_all(second)
    assert nights.next() == {}


def test_a_seed_that_may_be_another_by_now_is_built(nights: Nights) -> None:
    nights.write(SKIP, sha="")
    nights.end_all(nights.next())
    assert set(nights.next()) == {"base", "full"}


def test_whoever_writes_to_redis_chooses_no_seed(nights: Nights) -> None:
    nights.write("failures: {leave_after: 1}")
    first = nights.next()
    nights.end_all(first)
    left = StageState(name=BASE, job="base", failures=9, good=first["full"].id)
    for max_age, good in (("7d", first["full"]), ("0", first["base"])):
        nights.write("failures: {leave_after: 1}", max_age=max_age)
        with nights.farm.redis.client() as client:
            forged = encode((replace(left, good=good.id),)).decode()
            client.hset("test:schedule:nightly", "stages", forged)
        assert nights.next() == {}, "of another stage, or of any age"
        assert nights.standing(FULL) is Standing.STRANDED


POINTING = """
jobs:
- name: base
  source: {{type: http, uri: "{uri}", target: {out}/seed.tar}}
  output: {{type: file, name: base.tar, dir: {out}}}
  workspacedir: {out}/workspace
  options: {{arch: x86-64bit, subarch: generic_64}}
"""


def test_a_night_starts_from_the_seeds_of_its_time(nights: Nights) -> None:
    ledger, settings = nights.farm.ledger, nights.farm.settings
    nights.write("pin_seeds: true\n" + SKIP)
    with serving() as site:
        uri = site.put("latest.txt", b"seed-1.tar 1\n")
        text = POINTING.format(uri=uri, out=nights.farm.folder / "out")
        (nights.folder / "specs/stages.yaml").write_text(text)
        first = nights.next()["base"]
        site.put("latest.txt", b"seed-2.tar 1\n")
        assert first.source.uri == f"{site.address}/seed-1.tar"
        nights.end(first, well=False)
        retry(first.id, start=None, respecified=True, ledger=ledger, settings=settings)
        assert ledger.build(first.id).source == first.source, "a retry keeps the seed"
        nights.end(first)
        second = nights.next()["base"]
        assert second.source.uri == f"{site.address}/seed-2.tar"
        nights.end(second)
        assert nights.next() == {}, "the seed has not changed"
    assert nights.next() == {}
    assert f"is not made: {uri}: " in nights.said[-1], "no night without its seeds"


def test_a_person_sees_what_was_left_out_and_why(nights: Nights) -> None:
    nights.write(SKIP)
    first = nights.next()
    nights.end_all(first)
    nights.write(SKIP, full="b")
    (second,) = nights.next().values()
    farm = nights.farm
    said = f"{BASE}: unchanged, the same as {first['base'].id[:-8]}, within its max_age"
    assert said in farm.command("schedule", "show", "nightly").stdout
    assert f"not built: {said}" in farm.command("status", second.batch).stdout
    (batch, _) = json.loads(farm.command("status", "--batches", "--json").stdout)
    assert [one["stage"] for one in batch["left_out"]] == [BASE]
    why = farm.command("why", first["base"].id).stdout
    assert "The last night did not build its stage: unchanged, the same as" in why
    (made,) = ask(farm, "run", "nightly")
    assert len(made["builds"]) == 2, "a night by hand builds all"


def test_stages_that_fail_leave_and_return(nights: Nights) -> None:
    nights.write("failures: {backoff_after: 1, leave_after: 2}")
    first = nights.next()
    nights.end(first["base"])
    nights.end(first["full"], well=False)
    second = nights.next()
    nights.end(second["base"])
    assert (set(second), nights.standing(FULL)) == ({"base"}, Standing.BACKED_OFF)
    third = nights.next()
    nights.end(third["base"])
    nights.end(third["full"], well=False)
    for _ in range(2):
        nights.end_all(nights.next())
        assert nights.standing(FULL) is Standing.LEFT
    farm = nights.farm
    assert "stagefarm schedule return nightly full" in farm.command("why", third["full"].id).stdout
    assert "not built: 1 left the rotation" in farm.command("schedule", "list").stdout
    assert farm.command("schedule", "return", "nightly", "ful").returncode == 2
    assert ask(farm, "return", "nightly", "full") == [FULL]
    back = nights.next()
    assert set(back) == {"base", "full"}
    nights.end(back["base"])
    nights.end(back["full"], well=False)
    assert set(nights.next()) == {"base"}, "it is counted from one again"


def test_a_retry_that_succeeds_returns_a_stage(nights: Nights) -> None:
    nights.write("failures: {leave_after: 1}")
    first = nights.next()
    nights.end(first["base"], well=False)
    assert nights.next() == {}
    assert (nights.standing(BASE), nights.standing(FULL)) == (Standing.LEFT, Standing.STRANDED)
    nights.farm.ledger.retry(first["base"].id, "again")
    nights.end(first["base"])
    assert set(nights.next()) == {"base", "full"}


def test_a_follower_of_what_has_left_starts_from_its_last_good_build(nights: Nights) -> None:
    nights.write("failures: {leave_after: 1}")
    first = nights.next()
    nights.end_all(first)
    second = nights.next()
    nights.end(second["base"], well=False)
    third = nights.next()
    assert set(third) == {"full"}
    assert third["full"].after == first["base"].id


def ask(farm: Farm, *words: str) -> list[Any]:
    done = farm.command("schedule", *words, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return found if isinstance(found, list) else [found]


@pytest.mark.root
def test_a_follower_is_built_from_the_tarball_of_an_earlier_night(
    nights: Nights, can_isolate: None, host_unchanged: None
) -> None:
    farm, sha = nights.farm, hashlib.sha256(nights.farm.seed.read_bytes()).hexdigest()
    nights.write(SKIP, sha=sha)
    first = nights.next()
    farm.worker("one")
    farm.wait(*first.values(), state=BuildState.SUCCEEDED)
    nights.write(SKIP, sha=sha, full="b")
    second = nights.next()
    assert set(second) == {"full"}
    (record,) = farm.wait(second["full"], state=BuildState.SUCCEEDED)
    beside = Path(f"{record.artifacts[0].path.removeprefix('file://')}.intoto.jsonl")
    payload = json.loads(base64.b64decode(json.loads(beside.read_text())["payload"]))
    inputs = payload["predicate"]["buildDefinition"]["resolvedDependencies"]
    (seed,) = [one for one in inputs if one["name"] == "seed"]
    assert seed["uri"] == f"urn:stagefarm:build:{first['base'].id}"
