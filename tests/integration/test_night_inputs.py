"""Nights that are built from git repositories: pinned when made, whatever is pushed after."""

from __future__ import annotations

import base64
import json
import tarfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.farm.scheduled_nights import ScheduledNights
from tasks.ledger.schedules import Schedules
from tasks.model import Build, BuildState
from tests.farm import QUICK, Farm
from tests.redis_server import RedisServer
from tests.repositories import Origin, served

pytestmark = pytest.mark.redis

SPEC = """
jobs:
- name: base
  source: {{type: file, path: {seed}}}
  output: {{type: file, name: 'base-{commit}.tar', dir: out}}
  workspacedir: {out}/workspace
  options: {{arch: x86-64bit, subarch: generic_64}}
  hooks_basedir: ../hooks
  hooks_files: [copy.yaml]
"""
COMMIT = "{{ .Values.inputs.stages.commit | trunc 8 }}"
HOOK = """
hooks:
- type: outer-pre-chroot
  commands: ['cp stages/version "$MARKDEVKIT_ROOTFS/version"']
"""
BATCH = """
name: night
schedule: {{cron: "30 1 * * *", overlap: allow}}
inputs:
  stages: {{git: "{url}", ref: main}}
builds:
- {{specfile: stages/specs/stages.yaml}}
"""
EVENING = datetime(2026, 1, 5, 18, tzinfo=UTC)
NIGHT = datetime(2026, 1, 6, 1, 30, 5, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    return Origin.make(tmp_path / "git/stages")


@pytest.fixture
def farm(tmp_path: Path, seed: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Farm]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "own"))
    folder = tmp_path / "batches"
    folder.mkdir()
    more = {"schedule_dir": str(folder), "git_protocols": "file:git"}
    farm = Farm(tmp_path, seed, RedisServer(tmp_path / "redis"), quick={**QUICK, **more})
    farm.redis.start()
    try:
        yield farm
    finally:
        farm.end()


def push(farm: Farm, origin: Origin, version: str, parent: str = "") -> str:
    files = {
        "specs/stages.yaml": SPEC.format(seed=farm.seed, out=farm.folder / "out", commit=COMMIT),
        "hooks/copy.yaml": HOOK,
        "version": version,
        ".gitignore": "version",
    }
    return origin.commit(files, parent=parent)


def schedule(farm: Farm, url: str, said: list[str] | None = None) -> ScheduledNights:
    """The duty of a supervisor, with a schedule of what is at `url`."""
    Path(farm.settings.schedule_dir, "nightly.yaml").write_text(BATCH.format(url=url))
    duty = ScheduledNights(
        farm.settings, farm.ledger, farm.app, print if said is None else said.append
    )
    duty.go_on(EVENING)
    return duty


def builds_of(farm: Farm, night: str) -> list[Build]:
    return [farm.ledger.build(one) for one in farm.ledger.batch(night)]


def test_each_night_has_the_commit_of_its_time(farm: Farm, origin: Origin) -> None:
    first = push(farm, origin, "one")
    said: list[str] = []
    duty = schedule(farm, origin.url, said)
    duty.go_on(NIGHT)
    assert said == [f"schedule nightly: night-20260106T0130Z, 1 build, stages at {first[:12]}"]
    second = push(farm, origin, "two", parent=first)
    duty.go_on(NIGHT + DAY)
    (one,) = builds_of(farm, "night-20260106T0130Z")
    (other,) = builds_of(farm, "night-20260107T0130Z")
    assert [build.inputs[0].commit for build in (one, other)] == [first, second]
    assert [build.output.name for build in (one, other)] == [
        f"base-{commit[:8]}.tar" for commit in (first, second)
    ]
    assert one.context != other.context
    assert (one.folder, one.specfile) == (other.folder, other.specfile)


def test_a_server_that_is_away_makes_no_half_of_a_night(
    farm: Farm, origin: Origin, tmp_path: Path
) -> None:
    push(farm, origin, "one")
    with served(tmp_path / "git") as url:
        duty = schedule(farm, f"{url}/stages")
    duty.go_on(NIGHT)
    schedules = Schedules(farm.ledger.connection)
    assert f"cannot fetch {url}/stages" in schedules.state("nightly").error
    assert farm.ledger.batches() == []
    (shown,) = json.loads(farm.command("schedule", "list", "--json").stdout)
    assert (shown["state"], shown["night"]) == ("failing", None)
    Path(farm.settings.schedule_dir, "nightly.yaml").write_text(BATCH.format(url=origin.url))
    duty.go_on(NIGHT + timedelta(minutes=2))
    assert farm.ledger.batches() == ["night-20260106T0130Z"]
    assert schedules.state("nightly").error == ""


@pytest.mark.root
def test_a_night_is_built_from_the_commit_that_it_was_made_of(
    farm: Farm, origin: Origin, can_isolate: None, host_unchanged: None
) -> None:
    first = push(farm, origin, "one")
    schedule(farm, origin.url).go_on(NIGHT)
    (build,) = builds_of(farm, "night-20260106T0130Z")
    second = push(farm, origin, "rewritten")
    farm.start(["supervisor"], "one")
    farm.worker("one")
    (record,) = farm.wait(build, state=BuildState.SUCCEEDED)
    assert version_in(record.artifacts[0].path) == "one"
    tarball = Path(record.artifacts[0].path.removeprefix("file://"))
    statement = json.loads(Path(f"{tarball}.intoto.jsonl").read_text())
    assert dependency(statement) == {
        "name": "git:stages",
        "digest": {"gitCommit": first},
        "uri": f"git+{origin.url}@{first}",
    }
    (shown,) = json.loads(farm.command("status", build.id, "--json").stdout)
    assert shown["inputs"][0]["commit"] == first
    said = f"It is built from stages: {origin.url} at {first[:12]} (main)."
    for command in ("why", "status"):
        assert said in farm.command(command, build.id).stdout.replace("\n", "")
    refused = farm.command("fetch", build.id)
    assert (refused.returncode, "--into another folder" in refused.stderr) == (2, True)
    again = farm.command("retry", build.id, "--reload-spec")
    assert again.returncode == 0, again.stderr
    assert farm.ledger.build(build.id).inputs[0].commit == second
    (record,) = farm.wait(build, state=BuildState.SUCCEEDED)
    assert version_in(record.artifacts[0].path) == "rewritten"


def version_in(tarball: str) -> str:
    with tarfile.open(tarball.removeprefix("file://")) as tar:
        (name,) = [name for name in tar.getnames() if name in ("version", "./version")]
        file = tar.extractfile(name)
        assert file
        return file.read().decode()


def dependency(envelope: dict[str, str]) -> dict[str, object]:
    """The repository in the provenance."""
    statement = json.loads(base64.b64decode(envelope["payload"]))
    found = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    (one,) = [one for one in found if one["name"].startswith("git:")]
    return dict(one)


def test_a_batch_is_planned_and_submitted_from_repositories(farm: Farm, origin: Origin) -> None:
    commit = push(farm, origin, "one")
    batch = Path(farm.settings.schedule_dir, "nightly.yaml")
    batch.write_text(BATCH.format(url=origin.url))
    checked = farm.command("validate", str(batch))
    assert "night of stages; `stagefarm plan --batch` fetches" in checked.stdout
    (planned,) = json.loads(farm.command("plan", "--batch", str(batch), "--json").stdout)
    assert planned["inputs"][0]["commit"] == commit
    (submitted,) = json.loads(farm.command("submit", "--batch", str(batch), "--json").stdout)
    build = farm.ledger.build(submitted["id"])
    assert build.inputs[0].commit == commit
    assert farm.ledger.context(build.context)
    origin.git("update-ref", "-d", "refs/heads/main")
    gone = farm.command("submit", "--batch", str(batch))
    assert (gone.returncode, "couldn't find remote ref main" in gone.stderr) == (1, True)
