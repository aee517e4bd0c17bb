"""Checkpoints on real workers: builds that go on after the last good step, on another host."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tasks.ledger.logs import Logbook
from tasks.ledger.records import Record
from tasks.model import Build, BuildState, short_id
from tests.farm import Farm, lose_power, processes_with
from tests.redis_server import RedisServer
from tests.waiting import eventually

pytestmark = [pytest.mark.redis, pytest.mark.root, pytest.mark.slow]

SPECFILE = """
version: "1"
engine: jinja2
jobs:
  - name: stage
    source: {{type: file, path: {seed}}}
    output: {{type: file, name: stage.tar, dir: {folder}/out}}
    options: {{arch: x86-64bit, subarch: generic_64}}
    workspacedir: {folder}/workspace
    hooks_basedir: .
    hooks_files: [outer.yaml, one.yaml, two.yaml, three.yaml]
    chroot_binds: [{{source: {folder}/workspace/shared, target: /shared}}]
"""
HOOKS = """
{checkpoint}
hooks:
  - name: {name}
    type: {type}
    chroot_binds: []
    commands: ["set -e; {command}"]
"""


@pytest.fixture
def farm(tmp_path: Path, seed: Path, can_isolate: None, host_unchanged: None) -> Iterator[Farm]:
    """Two hosts on one queue; nothing is left of them in the end."""
    farm = Farm(tmp_path, seed, RedisServer(tmp_path / "redis"))
    farm.redis.start()
    try:
        yield farm
        homes = tmp_path / "hosts"
        assert eventually(lambda: not list(homes.glob("*/builds/*"))), farm.logs()
        assert not processes_with(str(tmp_path / "workspace"))
    finally:
        farm.end()


@pytest.fixture
def specs(farm: Farm) -> Path:
    """A job of three groups of hooks, each of which counts its runs in a shared folder; the third
    fails. The first keeps a file in the workspace too."""
    folder = farm.folder / "specs"
    folder.mkdir()
    (folder / "stages.yaml").write_text(SPECFILE.format(seed=farm.seed, folder=farm.folder))
    write(
        folder,
        "outer",
        "echo kept > $MARKDEVKIT_WORKSPACE/ego.conf",
        "outer-pre-chroot",
        keep=False,
    )
    write(folder, "one", "echo x >> /shared/one; touch /one; echo dynamic > /one.txt")
    write(
        folder,
        "two",
        "echo x >> /shared/two; rm /one.txt; ln -s /none /two; mkdir -m 2751 /deep; touch /deep/a",
    )
    write(folder, "three", "echo x >> /shared/three; exit 3", keep=False)
    return folder


def write(
    folder: Path, name: str, command: str, kind: str = "inner-chroot", *, keep: bool = True
) -> None:
    text = HOOKS.format(
        checkpoint="checkpoint: true" if keep else "", name=name, type=kind, command=command
    )
    (folder / f"{name}.yaml").write_text(text)


def submit(farm: Farm, specs: Path) -> Build:
    asked = ("--specfile", str(specs / "stages.yaml"), "--job", "stage", "--json")
    said = farm.command("submit", *asked, folder=specs)
    assert said.returncode == 0, said.stderr
    return farm.ledger.build(json.loads(said.stdout)[0]["id"])


def runs(farm: Farm, *names: str) -> list[int]:
    """How often each group ran."""
    shared = farm.folder / "workspace/shared"
    return [len((shared / name).read_text().splitlines()) for name in names]


def checkpoints(farm: Farm, build: Build) -> list[str]:
    """What lies in the store of the build's checkpoints, whole or not."""
    return sorted(path.name for path in (farm.store / build.id / build.id).glob("checkpoints/*"))


def names_in(record: Record) -> set[str]:
    with tarfile.open(urlsplit(record.artifacts[0].path).path) as tar:
        return set(tar.getnames())


def log_of(farm: Farm, build: Build) -> list[str]:
    return [entry.line.text for entry in Logbook(farm.ledger.connection).read(build.id)]


def test_a_mended_build_goes_on_behind_its_checkpoint_on_another_host(
    farm: Farm, specs: Path
) -> None:
    one = farm.worker("one")
    build = submit(farm, specs)
    assert farm.wait(build)[0].state is BuildState.FAILED, farm.logs()
    assert checkpoints(farm, build) == ["1.2", "1.3"]
    shown = farm.command("status", build.id).stdout
    assert [line.split()[0] for line in shown.splitlines() if line.endswith("checkpoint")] == [
        "3",
        "4",
    ]
    one.terminate()
    assert one.wait(30) == 0
    farm.worker("two")
    write(
        specs,
        "three",
        "echo x >> /shared/three; test -e /one; test ! -e /one.txt; test -L /two; test -g /deep",
        keep=False,
    )
    write(
        specs,
        "outer-late",
        "test `cat $MARKDEVKIT_WORKSPACE/ego.conf` = kept",
        "outer-post-chroot",
        keep=False,
    )
    text = (specs / "stages.yaml").read_text()
    (specs / "stages.yaml").write_text(text.replace("three.yaml]", "three.yaml, outer-late.yaml]"))
    said = farm.command("retry", build.id, "--from", "last", "--reload-spec")
    assert said.stdout == f"{short_id(build.id)}: queued as attempt 2, from step 5\n", said.stderr
    (record,) = farm.wait(build)
    assert (record.state, record.host) == (BuildState.SUCCEEDED, "two"), farm.logs()
    assert runs(farm, "one", "two", "three") == [1, 1, 2]
    assert {"./one", "./two", "./deep/a"} <= names_in(record)
    assert "./one.txt" not in names_in(record)
    assert eventually(lambda: checkpoints(farm, build) == [])
    assert "done by an earlier attempt" in farm.command("status", build.id).stdout


def test_what_cannot_be_resumed_is_told(farm: Farm, specs: Path) -> None:
    farm.worker("one")
    build = submit(farm, specs)
    farm.wait(build, state=BuildState.FAILED)
    at_one = farm.command("retry", build.id, "--from", "3")
    assert (at_one.returncode, at_one.stdout) == (2, "")
    assert at_one.stderr == (
        f"error: {build.id} has no checkpoint before step 3\n"
        " hint: there are some after step 3, 4: --from 4 or later, or --from last\n"
    )
    beyond = farm.command("retry", build.id, "--from", "42")
    assert beyond.stderr.startswith(
        f"error: {build.id} has no step '42'\n hint: give a number from 1"
    )
    write(specs, "two", "echo other")
    before = farm.command("retry", build.id, "--from", "last", "--reload-spec")
    assert before.returncode == 2
    assert before.stderr == (
        f"error: step 4 (inner-chroot two.yaml) of {build.id} has changed since the "
        "checkpoint after step 4\n hint: --from 4\n"
    )
    assert farm.record(build).attempt == 1
    write(specs, "three", "true")
    assert farm.command("retry", build.id, "--from", "4", "--reload-spec").returncode == 0
    (record,) = farm.wait(build)
    assert record.state is BuildState.SUCCEEDED, farm.logs()
    assert runs(farm, "one", "two") == [1, 1]
    none = farm.command("retry", build.id, "--from", "last")
    assert none.stderr.startswith(
        f"error: {build.id} has no checkpoint\n hint: set `checkpoint: true`"
    )


def test_a_lost_host_loses_no_more_than_what_follows_the_checkpoint(
    farm: Farm, specs: Path
) -> None:
    """Here the root filesystem is a plain folder, which lies in the workspace."""
    farm.start(["supervisor"])
    one = farm.worker("one")
    text = (specs / "stages.yaml").read_text()
    (specs / "stages.yaml").write_text(
        text.replace("    hooks_b", "    rootfs: plain\n    hooks_b")
    )
    gate = farm.folder / "workspace/shared/open"
    write(specs, "three", "echo x >> /shared/three; test -e /shared/open || sleep 600")
    build = submit(farm, specs)
    assert eventually((farm.folder / "workspace/shared/three").exists, 60.0), farm.logs()
    gate.touch()
    lose_power(one)
    farm.worker("two")
    (record,) = farm.wait(build)
    assert (record.state, record.host, record.attempt) == (BuildState.SUCCEEDED, "two", 2)
    assert runs(farm, "one", "two", "three") == [1, 1, 2]
    assert eventually(lambda: checkpoints(farm, build) == [])
    farm.worker("one")


def test_without_its_checkpoint_a_lost_build_starts_over(farm: Farm, specs: Path) -> None:
    farm.start(["supervisor"])
    one = farm.worker("one")
    write(specs, "three", "echo x >> /shared/three; test -e /shared/open || sleep 600")
    build = submit(farm, specs)
    assert eventually((farm.folder / "workspace/shared/three").exists, 60.0), farm.logs()
    (farm.folder / "workspace/shared/open").touch()
    for tarball in (farm.store / build.id).rglob("rootfs.tar.zst"):
        tarball.write_bytes(tarball.read_bytes()[:-100])
    lose_power(one)
    farm.worker("two")
    (record,) = farm.wait(build)
    assert (record.state, record.attempt) == (BuildState.SUCCEEDED, 3), farm.logs()
    assert [attempt.how for attempt in farm.ledger.attempts(build.id)] == [
        *("lost", "handed back", "succeeded"),
    ]
    assert runs(farm, "one", "two", "three") == [2, 2, 2]
    farm.worker("one")


def test_a_crash_while_a_checkpoint_is_written_leaves_no_half_of_it(
    farm: Farm, specs: Path
) -> None:
    farm.start(["supervisor"])
    one = farm.worker("one")
    write(specs, "two", "echo x >> /shared/two; head -c 64M /dev/urandom > /large")
    write(specs, "three", "true", keep=False)
    build = submit(farm, specs)
    assert eventually(lambda: "1.3.one.partial" in checkpoints(farm, build)), farm.logs()
    lose_power(one)
    assert checkpoints(farm, build) == ["1.2", "1.3.one.partial"]
    assert list(farm.ledger.checkpoints(build.id)) == ["1.2"]
    farm.worker("two")
    (record,) = farm.wait(build)
    assert record.state is BuildState.SUCCEEDED, farm.logs()
    assert runs(farm, "one", "two") == [1, 2]
    assert eventually(lambda: checkpoints(farm, build) == [])
    farm.worker("one")
