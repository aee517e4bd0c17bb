"""From builds on a farm through a gate to a mirror: by hand, after a batch, by the supervisor."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest

from orchestrator.formats.gatefile import Checks
from orchestrator.shipped import shipped
from tests.farm import Farm
from tests.redis_server import RedisServer
from tests.releases import Served
from tests.told import Told
from tests.waiting import eventually

pytestmark = [
    pytest.mark.redis,
    pytest.mark.root,
    pytest.mark.usefixtures("host_unchanged"),
]

ROOT = Path(__file__).parents[2]
WALK = "One machine, ten minutes"
SPECS = """
jobs:
  - name: stage3
    options: {{arch: x86-64bit, subarch: generic_64, flavour: minimal}}
    workspacedir: {folder}/workspace
    source: {{type: file, path: {seed}}}
    output: {{type: file, name: "stage3-{{{{ .Values.flavour }}}}.tar.zst", dir: out}}
    hooks_files: [hooks.yml]
"""
HOOKS = """
hooks:
  - name: work
    commands: ["touch /file && chmod {{ eq .Values.flavour \"open\" | ternary 666 644 }} /file"]
"""
BATCH = """
name: nightly
release: {release}
builds:
  - specfile: specs.yaml
    matrix: {{flavour: [minimal, open]}}
"""
RELEASE = """
stages:
  - {{product: stage3, variant: $flavour}}
targets:
  - to: {mirror}
gate: {gate}
"""
COUNTING = ("setuid", "world_writable")


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory, seed: Path, can_isolate: None) -> Iterator[Farm]:
    folder = tmp_path_factory.mktemp("farm")
    farm = Farm(folder, seed, RedisServer(folder / "redis"))
    farm.redis.start()
    (folder / "specs.yaml").write_text(SPECS.format(folder=folder, seed=seed))
    (folder / "hooks.yml").write_text(HOOKS)
    try:
        farm.worker("one", slots=2)
        yield farm
    finally:
        farm.end()


def release_file(farm: Farm, name: str) -> Path:
    """A release whose gate has only the checks that count here."""
    checks = {one.name: "pass" for one in fields(Checks) if one.name not in COUNTING}
    gate, file = farm.folder / f"{name}.gate.yaml", farm.folder / f"{name}.yaml"
    gate.write_text(json.dumps({"checks": checks}))
    mirror = farm.folder / f"mirror-{name}"
    file.write_text(RELEASE.format(mirror=mirror, gate=gate.name))
    return file


def batch_file(farm: Farm, release: str = "") -> Path:
    file = farm.folder / "nightly.yaml"
    file.write_text(BATCH.format(release=release))
    return file


def told(farm: Farm, *arguments: object, code: int = 0) -> Any:
    """What a command answers as JSON."""
    done = farm.command(*map(str, arguments), "--json")
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


# The walk-through of docs/gate.md

BUILD_SAID, FINDING_SAID = "stage3-minimal-20261127-d8445000", "1a07de995aab"


def section(document: str, title: str) -> str:
    text = (ROOT / "docs" / document).read_text()
    return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def file_said(document: str, name: str) -> str:
    """The content of a file that a walk-through says to write."""
    (found,) = re.findall(rf"Write `{name}`.*?:\n\n((?:    .*\n)+)", section(document, WALK))
    return textwrap.dedent(found)


@dataclass
class Walk:
    """Somebody who follows the walk-through on a machine of the farm."""

    farm: Farm
    folder: Path
    build: str = ""
    finding: str = ""

    def run(self, command: str, code: int = 0) -> str:
        command = command.replace(BUILD_SAID, self.build).replace(FINDING_SAID, self.finding)
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self.farm.environment("tester") | {"PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, command + done.stdout + done.stderr
        return done.stdout

    def told(self, command: str, code: int = 0) -> Any:
        return json.loads(self.run(f"stagefarm {command} --json", code))


@pytest.fixture
def walk(farm: Farm, seed: Path, tmp_path: Path) -> Iterator[Walk]:
    """Who has published one stage as docs/publishing.md says."""
    for name in ("jobs", "hooks"):
        shutil.copytree(shipped(name), tmp_path / name)
    shutil.copy(ROOT / ".gitignore", tmp_path)
    jobs = tmp_path / "jobs/demo/stages.yaml"
    release = file_said("publishing.md", "release.yaml").replace(
        "    url: http://127.0.0.1:8001\n", ""
    )
    (tmp_path / "release.yaml").write_text(release)
    with Served(seed.parent) as served:
        jobs.write_text(
            jobs.read_text().replace(
                "http://127.0.0.1:8000/seed.tar.xz", f"{served.url}/{seed.name}"
            )
        )
        walk = Walk(farm, tmp_path)
        first = section("publishing.md", WALK).partition("    # stagefarm submit ")[2]
        walk.run("stagefarm submit " + first.partition("\n")[0])
        yield walk


def test_the_walk_through_works_and_the_hold_is_seen_everywhere(walk: Walk) -> None:
    commands = re.findall(r"^    # (.*)$", section("gate.md", WALK), re.MULTILINE)
    spoiled, again = (
        next(i for i, line in enumerate(commands) if word in line) for word in ("submit", "accept")
    )
    with Told() as people:
        gate = f"{file_said('gate.md', 'gate.yaml')}notify: ['{people.url('a')}']\n"
        (walk.folder / "gate.yaml").write_text(gate)
        for command in commands[:spoiled]:
            walk.run(command)
        said = walk.run(commands[spoiled], code=8)
        assert "generation 1: nothing is new" in said
        (hold,) = walk.told("gate list release.yaml")
        walk.build, walk.finding = hold["build"], hold["findings"][0]["digest"][:12]
        assert f"  {walk.finding}  setuid /bin/tar: got the setuid bit\n" in said
        for command in commands[spoiled + 1 : again]:
            assert "held by the gate" in walk.run(command) or "gate" in command
        (status,) = walk.told(f"status {walk.build}")
        assert status["gate"] == "held by the gate: 1 finding"
        for command in commands[again:-1]:
            walk.run(command)
        assert len(walk.told("release show release.yaml")["stages"]) == 2
        assert walk.told(f"status {walk.build}")[0]["gate"] == ""
        titles = [title for _, title, _ in people.got]
    stage = "stage3 minimal-next x86-64bit.generic_64"
    assert titles == [
        f"release: the gate holds {stage}",
        f"release: the gate does not hold {stage} any more",
    ]
    for name, build in (("new", hold["build"]), ("old", hold["published"])):
        (tarball,) = walk.farm.store.glob(f"*/{build}/1/*.tar.zst")
        shutil.copy(tarball, walk.folder / f"{name}.tar.zst")
    assert "/bin/tar" in walk.run(commands[-1], code=8), "nobody accepts it where no release is"


# After batches


def test_a_batch_ends_with_what_passes_published(farm: Farm) -> None:
    file = release_file(farm, "batch")
    done = farm.command("submit", "--batch", str(batch_file(farm)), "--publish", str(file))
    assert done.returncode == 8, done.stdout + done.stderr
    assert "held by the gate: stage3 open x86-64bit.generic_64" in done.stdout
    assert "generation 1 of stable, 1 stage: published" in done.stdout


def test_the_supervisor_publishes_what_passes_and_says_what_is_held(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    release_file(farm, "night")
    monkeypatch.setenv("STAGEFARM_RELEASE_DIR", str(farm.folder))
    farm.start(["supervisor"])
    done = farm.command("submit", "--batch", str(batch_file(farm, "night")))
    assert done.returncode == 0, done.stderr
    marks = farm.folder / "hosts/tester/releases/batches"
    noted = lambda: [mark.read_text() for mark in marks.glob("[!.]*")]  # noqa: E731
    assert eventually(lambda: noted() == ["2"], 60.0), farm.logs()
    assert "night: held by the gate: stage3 open" in farm.logs()
    assert "could not be published" not in farm.logs()
    held = told(farm, "gate", "list", farm.folder / "night.yaml")
    assert {hold["stage"] for hold in held} == {"stage3 open x86-64bit.generic_64"}
    assert eventually(lambda: told(farm, "status", held[-1]["build"])[0]["gate"] != "")
