"""Stages that are built from published ones carry where they come from; and hosts that have nothing
to do repeat what is published."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.farm.spare_rebuilds import DAY_S, Note, SpareRebuilds
from tasks.model import Build, BuildState, Hook, HookType, Source, SourceType, decode
from tasks.trust.policy import release_key
from tests.farm import QUICK, Farm
from tests.farm_builds import hook
from tests.redis_server import RedisServer
from tests.releases import Served
from tests.waiting import eventually

pytestmark = [pytest.mark.redis, pytest.mark.root]
EPOCH = 1_700_000_000
RELEASE = """
name: {name}
channel: {name}
stages: [{{jobs: [{jobs}], variant: $flavour}}]
targets: [{{to: {folder}/{name}, url: "{url}"}}]
keep: {{newest: {newest}}}
views: [gentoo, sha256sums]
"""


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory, seed: Path, can_isolate: None) -> Iterator[Farm]:
    folder = tmp_path_factory.mktemp("farm")
    releases = folder / "releases"
    releases.mkdir()
    mirror = folder / "stages"
    stages = {"folder": folder, "name": "stages", "url": mirror.as_uri(), "newest": 9}
    (releases / "stages.yaml").write_text(RELEASE.format(jobs='"[!n]*"', **stages))
    quick = {**QUICK, "rebuilds_per_day": 2, "release_dir": str(releases)}
    farm = Farm(folder, seed, RedisServer(folder / "redis"), quick=quick)
    farm.redis.start()
    try:
        farm.worker("one")
        farm.worker("two")
        yield farm
    finally:
        farm.end()


def built(farm: Farm, *hooks: Hook, name: str, **more: object) -> Build:
    changes: dict[str, Any] = {"environment": {"flavour": name}, "source_date_epoch": EPOCH, **more}
    (build,) = farm.submit(farm.build_of(hooks, name=name, **changes))
    assert [record.state for record in farm.wait(build)] == [BuildState.SUCCEEDED], farm.logs()
    return build


def publish(farm: Farm, file: str = "releases/stages.yaml") -> None:
    said = farm.command("publish", str(farm.folder / file))
    assert said.returncode == 0, said.stderr


def notes(farm: Farm) -> dict[str, Note]:
    folder = Path(farm.settings.state_dir) / "releases/rebuilds"
    return {file.stem: decode(file.read_bytes(), Note) for file in folder.glob("*.json")}


def test_nightly_stages_are_built_from_the_last_published_one(farm: Farm, tmp_path: Path) -> None:
    """By the pointer on their own mirror; the release keeps two of them, the lineage all."""
    mirror = farm.folder / "nights"
    mirror.mkdir()
    with Served(mirror) as served:
        about = {"folder": farm.folder, "name": "nights", "url": served.url, "newest": 2}
        (farm.folder / "nights.yaml").write_text(RELEASE.format(jobs="night", **about))
        pointer = f"{served.url}/releases/amd64/autobuilds/latest-night-amd64-night.txt"
        source = Source(type=SourceType.HTTP, uri=pointer)
        builds = [built(farm, hook("echo 0 >> /nights"), name="night")]
        publish(farm, "nights.yaml")
        for number in (1, 2, 3):
            work = hook(f"echo {number} >> /nights")
            builds.append(built(farm, work, name="night", source=source))
            publish(farm, "nights.yaml")
    newest = max((mirror / "files").glob("*.tar"))
    assert len((mirror / "files/SHA256SUMS").read_text().splitlines()) == 2
    folder = tmp_path / "download"
    folder.mkdir()
    for file in (mirror / "files").glob(f"{newest.name}*"):
        shutil.copy(file, folder)
    key = str(release_key(farm.settings).public)
    nobody = tmp_path / "trust.toml"
    nobody.touch()
    shown = farm.command(
        "lineage", str(folder / newest.name), "--trust", str(nobody), "--key", key, "--json"
    )
    assert shown.returncode == 0, shown.stderr
    found = json.loads(shown.stdout)
    assert [one["build"] for one in found["generations"]] == [one.id for one in reversed(builds)]
    assert {one["host"]["standing"] for one in found["generations"]} == {"vouched"}
    assert found["generations"][0]["origin"]["uri"].startswith(f"{served.url}/releases/amd64/")
    assert found["end"]["why"] == "root"
    assert found["end"]["origin"]["uri"] == farm.seed.as_uri()
    lineage = folder / f"{newest.name}.lineage.jsonl"
    lines = lineage.read_text().splitlines(keepends=True)
    lineage.write_text("".join([*lines[:2], *lines[3:]]))
    broken = farm.command("lineage", str(folder / newest.name), "--key", key)
    assert broken.returncode == 7
    assert f"generation 2: night.tar was built from {tail_of(lines[2])}" in broken.stderr


def tail_of(line: str) -> str:
    return f"{json.loads(line)['sha256'][:12]}…, whose evidence is missing"


def test_the_supervisor_lets_idle_hosts_repeat_what_is_published(farm: Farm) -> None:
    build = built(farm, hook("echo made > /made"), name="job")
    publish(farm)
    supervisor = farm.start(["supervisor"])
    assert eventually(lambda: any(note.outcome for note in notes(farm).values()), 60.0), farm.logs()
    supervisor.terminate()
    supervisor.wait()
    note = notes(farm)[build.id]
    before, after = farm.record(build), farm.ledger.record(note.rebuild)
    assert note.outcome == f"reproduced on {after.host}"
    assert {before.host, after.host} == {"one", "two"}
    assert f"rebuild of {build.id}" in farm.command("status", after.id).stdout
    publish(farm)
    (tarball,) = (farm.folder / "stages/files").glob("*.tar")
    shown = farm.command("lineage", str(tarball), "--json")
    assert shown.returncode == 0, shown.stderr
    found = json.loads(shown.stdout)
    assert (found["reproduced"], found["shown"]) == (1, True)
    assert {one.name for one in (farm.folder / "stages/stages").rglob("*.tar")} == {"job.tar"}


def test_it_is_done_seldom_once_and_its_failure_says_nothing_of_the_original(farm: Farm) -> None:
    """Two a day, the newest first."""
    flag = farm.folder / "fail"
    fails = hook(f"test ! -e {flag}", kind=HookType.OUTER_PRE_CHROOT)
    third = built(farm, fails, name="third")
    second = built(farm, hook("echo 2 > /2"), name="second")
    first = built(farm, hook("cat /proc/sys/kernel/random/uuid > /1"), name="first")
    publish(farm)
    flag.touch()
    days, known = 2.0, set(notes(farm))

    def go_on() -> set[str]:
        """What is begun by a look; a second one, while that goes on, begins nothing."""
        now = time.time() + days * DAY_S
        spare = SpareRebuilds(farm.settings, farm.ledger, farm.app, str, clock=lambda: now)
        spare.go_on()
        spare.go_on()
        fresh = set(notes(farm)) - known
        known.update(fresh)
        for build in fresh:
            farm.wait(farm.ledger.build(notes(farm)[build].rebuild))
        return fresh

    assert [go_on() for _ in range(3)] == [{first.id}, {second.id}, set()]
    days += 1.1
    assert [go_on() for _ in range(2)] == [{third.id}, set()]
    assert notes(farm)[first.id].outcome.startswith("differs on")
    assert notes(farm)[second.id].outcome.startswith("reproduced on")
    assert notes(farm)[third.id].outcome.startswith("failed: ")
    assert farm.record(third).state is BuildState.SUCCEEDED
