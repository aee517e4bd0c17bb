"""Builds on real workers: which host runs which step, what is left, what people see."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tasks.ledger.answers import CancelOutcome
from tasks.ledger.hosts import Hosts
from tasks.ledger.logs import Logbook
from tasks.model import Build, BuildState, Hook, HookType
from tests.farm import Farm, processes_with
from tests.redis_server import RedisServer
from tests.waiting import eventually

pytestmark = [pytest.mark.redis, pytest.mark.root]
SH = ("/bin/bash", "-c")


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory, seed: Path, can_isolate: None) -> Iterator[Farm]:
    """Two hosts on one queue, a third on another, for all tests of this module."""
    folder = tmp_path_factory.mktemp("farm")
    farm = Farm(folder, seed, RedisServer(folder / "redis"))
    farm.redis.start()
    try:
        farm.worker("one", slots=2)
        farm.worker("two", slots=2)
        farm.worker("three", "x86-64bit.haswell")
        yield farm
    finally:
        farm.end()


@pytest.fixture(autouse=True)
def nothing_left(farm: Farm, host_unchanged: None) -> Iterator[None]:
    """After each test: no process of a build, no folder of one, no lease, no mount."""
    yield
    homes = farm.folder / "hosts"
    assert eventually(lambda: not list(homes.glob("*/builds/*"))), farm.logs()
    assert farm.ledger.connection.client.zcard("test:leases") == 0
    assert not processes_with(str(farm.folder / "workspace"))


def hook(*commands: str, kind: HookType = HookType.INNER_CHROOT, name: str = "work") -> Hook:
    return Hook(name=name, type=kind, commands=commands, entrypoint=SH)


def log_of(farm: Farm, build: Build) -> list[str]:
    return [entry.line.text for entry in Logbook(farm.ledger.connection).read(build.id)]


def test_a_build_becomes_an_artifact_in_the_store(farm: Farm) -> None:
    (build,) = farm.submit(farm.build("echo hello; echo hello > /made"))
    (record,) = farm.wait(build)
    assert record.state is BuildState.SUCCEEDED, farm.logs()
    (artifact,) = record.artifacts
    file = Path(urlsplit(artifact.path).path)
    assert file == farm.store / build.id / build.id / "1" / "job.tar"
    assert hashlib.sha256(file.read_bytes()).hexdigest() == artifact.sha256
    with tarfile.open(file) as tar:
        assert tar.extractfile("./made").read() == b"hello\n"  # type: ignore[union-attr]
    names = sorted(path.name for path in file.parent.iterdir())
    sidecars = [
        *("CONTENTS.gz", "DIGESTS", "build.json", "cdx.json", "intoto.jsonl", "job.json"),
        *("log.zst", "packages.json", "sha256", "spdx.json"),
    ]
    assert names == [
        "build.log", "job.tar", *(f"job.tar.{name}" for name in sidecars), "record.json"
    ]  # fmt: skip
    envelope = json.loads((file.parent / "job.tar.intoto.jsonl").read_text())
    signed = json.loads(base64.b64decode(envelope["payload"]))["subject"]
    assert {"job.tar.cdx.json", "job.tar.spdx.json"} <= {one["name"] for one in signed}
    assert "[work] hello" in (file.parent / "build.log").read_text()
    kept = json.loads((file.parent / "record.json").read_text())
    assert (kept["state"], kept["host"], kept["build"]["id"]) == (
        "succeeded",
        record.host,
        build.id,
    )
    assert kept["artifacts"][0]["sha256"] == artifact.sha256


def test_every_step_of_a_build_runs_on_one_host_and_all_hosts_of_a_queue_build(farm: Farm) -> None:
    tell = "echo $STAGEFARM_TOLD; sleep 0.3"
    groups = [(hook(tell),)] * 3
    builds = farm.submit(*[farm.build_of(*groups, name="spread") for _ in range(6)])
    records = farm.wait(*builds)
    assert {record.state for record in records} == {BuildState.SUCCEEDED}
    for build, record in zip(builds, records, strict=True):
        said = [line for line in log_of(farm, build) if " on " in line]
        assert len(said) == len(build.steps)
        assert {line.rpartition(" on ")[2] for line in said} == {record.host}
    assert {record.host for record in records} == {"one", "two"}


def test_each_build_runs_on_its_own_queue_only(farm: Farm) -> None:
    here = [farm.build(name="here") for _ in range(2)]
    there = [farm.build(name="there", subarch="haswell") for _ in range(2)]
    farm.wait(*(submitted := farm.submit(*here, *there)))
    hosts = {build.subarch: farm.record(build).host for build in submitted}
    assert hosts["haswell"] == "three"
    assert hosts["generic_64"] in ("one", "two")


def test_a_failed_hook_fails_the_build_and_keeps_its_log(farm: Farm) -> None:
    (build,) = farm.submit(farm.build("echo before", "exit 7", "echo after"))
    (record,) = farm.wait(build)
    assert (record.state, record.error) == (BuildState.FAILED, "HookFailed")
    assert "work" in record.reason
    assert "7" in record.reason
    folder = farm.store / build.id / build.id / "1"
    assert sorted(path.name for path in folder.iterdir()) == ["build.log", "record.json"]
    log = (folder / "build.log").read_text()
    assert "before" in log
    assert "after" not in log


def test_outer_hooks_run_in_a_copy_of_the_submitters_folder(farm: Farm, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/data.txt").write_text("from the submitter\n")
    (tmp_path / ".gitignore").write_text("secret\n")
    (tmp_path / "secret").write_text("no\n")
    look = hook("cat sub/data.txt; ls -A", kind=HookType.OUTER_PRE_SOURCER)
    (build,) = farm.submit(farm.build_of((look,), folder=str(tmp_path)))
    (record,) = farm.wait(build)
    assert record.state is BuildState.SUCCEEDED, record.reason
    log = log_of(farm, build)
    assert "from the submitter" in log
    assert ".gitignore" in log
    assert "secret" not in log


def test_no_password_of_the_broker_reaches_a_hook(farm: Farm) -> None:
    ask = [hook("env", kind=kind) for kind in (HookType.OUTER_PRE_CHROOT, HookType.INNER_CHROOT)]
    (build,) = farm.submit(farm.build_of(*[(one,) for one in ask]))
    (record,) = farm.wait(build)
    assert record.state is BuildState.SUCCEEDED, record.reason
    assert [line for line in log_of(farm, build) if line.startswith("MARKDEVKIT_ROOTFS=")]
    assert not [line for line in log_of(farm, build) if "STAGEFARM" in line or "redis" in line]


def test_a_running_build_is_cancelled_with_all_its_processes(farm: Farm) -> None:
    stubborn = "trap '' TERM; setsid sleep 4242 & sleep 4242"
    (build,) = farm.submit(farm.build(stubborn))
    farm.wait_step(build, 1)
    assert eventually(lambda: processes_with("sleep\x004242"))
    assert farm.ledger.cancel(build.id, "enough") is CancelOutcome.ASKED
    (record,) = farm.wait(build)
    assert (record.state, record.cancel) == (BuildState.CANCELLED, "enough")
    assert not processes_with("sleep\x004242")
    assert not (farm.store / build.id).exists()


def test_retry_builds_a_failed_build_anew(farm: Farm, tmp_path: Path) -> None:
    gate = hook(f"test -e {tmp_path}/open", kind=HookType.OUTER_PRE_CHROOT)
    (build,) = farm.submit(farm.build_of((gate,)))
    assert farm.wait(build)[0].state is BuildState.FAILED
    (tmp_path / "open").touch()
    said = farm.command("retry", build.id)
    assert said.stdout == f"{build.id}: queued as attempt 2\n", said.stderr
    record = farm.wait(build, state=BuildState.SUCCEEDED)[0]
    assert record.artifacts[0].path.endswith(f"/{build.id}/2/job.tar")
    assert [attempt.how for attempt in farm.ledger.attempts(build.id)] == ["failed", "succeeded"]


def test_a_drained_host_takes_nothing_new_and_says_so(farm: Farm) -> None:
    assert farm.command("drain", "three").stdout == "three: drained, 0 builds to finish\n"
    (build,) = farm.submit(farm.build(name="waits", subarch="haswell"))
    assert eventually(lambda: "drained" in farm.command("why", build.id).stdout)
    assert farm.record(build).state is BuildState.QUEUED
    states = {h["name"]: h["state"] for h in json.loads(farm.command("workers", "--json").stdout)}
    assert states == {"one": "up", "two": "up", "three": "drained"}
    assert farm.command("undrain", "three").stdout == "three: takes builds again\n"
    assert farm.wait(build)[0].state is BuildState.SUCCEEDED


def test_why_a_build_waits(farm: Farm) -> None:
    nobody, blocker, waits = farm.submit(
        farm.build(name="nobody", subarch="z13"),
        farm.build("sleep 300", name="blocker", subarch="haswell"),
        farm.build(name="waits", subarch="haswell"),
    )
    farm.wait_step(blocker, 1)
    said = farm.command("why", nobody.id).stdout.splitlines()
    assert said[1] == "It is number 1 of 1 there."
    assert said[-1] == "No host serves x86-64bit.z13 now: stagefarm worker --queue x86-64bit.z13"
    said = farm.command("why", waits.id).stdout.splitlines()
    assert said[-1].startswith(f"three: all 1 slots are busy with {blocker.id} (for ")
    assert f"three runs step 2 of {len(blocker.steps)}" in farm.command("why", blocker.id).stdout
    cancelled = farm.command("cancel", nobody.id, blocker.id, waits.id).stdout.splitlines()
    assert cancelled == [
        f"{nobody.id}: cancelled",
        f"{blocker.id}: stopping on its host",
        f"{waits.id}: cancelled",
    ]
    farm.wait(blocker, state=BuildState.CANCELLED)


SPECFILE = """
version: "1"
engine: jinja2
jobs:
  - name: stage
    source: {{type: file, path: {seed}}}
    output: {{type: file, name: "stage-{{{{ options.subarch }}}}.tar", dir: {folder}/out}}
    options: {{arch: x86-64bit, subarch: generic_64}}
    workspacedir: {folder}/workspace
    hooks_basedir: .
    hooks_files: [hooks.yaml]
"""
HOOKS = """
hooks:
  - name: greet
    type: inner-chroot
    commands: ["echo built for $subarch; test $subarch != broken"]
"""
BATCH = """
name: nightly
builds:
  - specfile: stages.yaml
    job: stage
    matrix: {subarch: [generic_64, haswell]}
    priority: 5
"""


@pytest.fixture
def specs(farm: Farm, tmp_path: Path) -> Path:
    (tmp_path / "stages.yaml").write_text(SPECFILE.format(seed=farm.seed, folder=tmp_path))
    (tmp_path / "hooks.yaml").write_text(HOOKS)
    (tmp_path / "batch.yaml").write_text(BATCH)
    return tmp_path


def test_submit_a_batch_and_follow_it(farm: Farm, specs: Path) -> None:
    said = farm.command("submit", "--batch", str(specs / "batch.yaml"), "--follow")
    assert said.returncode == 0, said.stderr + farm.logs()
    assert "stage-generic_64.tar" in said.stdout
    assert "stage-haswell.tar" in said.stdout
    (batch,) = farm.ledger.batches()
    listed = json.loads(farm.command("status", batch, "--json").stdout)
    assert [(build["state"], build["queue"]) for build in listed] == [
        ("succeeded", "x86-64bit.generic_64"),
        ("succeeded", "x86-64bit.haswell"),
    ]
    assert {path.name for path in (farm.store / batch).iterdir()} == {b["id"] for b in listed}
    followed = farm.command("follow", batch, "--json")
    assert [build["id"] for build in json.loads(followed.stdout)] == [b["id"] for b in listed]
    shown = farm.command("status", batch).stdout.splitlines()
    assert ["subarch=generic_64" in shown[1], "subarch=haswell" in shown[2]] == [True, True]


def test_follow_fails_with_the_reason_and_logs_say_more(farm: Farm, specs: Path) -> None:
    job = ("--specfile", str(specs / "stages.yaml"), "--job", "stage")
    options = ("-o", "subarch=broken", "-o", "arch=x86-64bit")
    worker = farm.worker("four", "x86-64bit.broken")
    said = farm.command("submit", *job, *options, "--follow")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    assert said.returncode == 1
    assert "1 of 1 builds did not succeed" in said.stderr
    build = said.stderr.partition("stagefarm logs ")[2].split()[0]
    log = farm.command("logs", "-f", build)
    assert "built for broken" in log.stdout, log.stderr
    shown = farm.command("status", build).stdout
    assert "failed" in shown
    assert "inner-chroot hooks.yaml" in shown


def test_a_worker_that_is_stopped_leaves_orderly(farm: Farm) -> None:
    worker = farm.worker("five", "x86-64bit.none")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    (host,) = [host for host in Hosts(farm.ledger.connection).all() if host.name == "five"]
    assert host.left


def a_second_worker(farm: Farm, name: str, state: str) -> tuple[int, str]:
    """The exit code and error of a worker called `name` in the state folder of host `state`."""
    said = subprocess.run(
        [sys.executable, "-m", "orchestrator", "worker", "--queue", "a.b", "--name", name],
        env=farm.environment(state, "worker"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.stdout == ""
    return said.returncode, said.stderr.splitlines()[0]


def test_only_one_worker_uses_a_state_folder(farm: Farm) -> None:
    error = f"error: another worker uses {farm.folder}/hosts/one"
    assert a_second_worker(farm, "one2", "one") == (3, error)


def test_only_one_worker_has_a_name(farm: Farm) -> None:
    code, error = a_second_worker(farm, "one", "elsewhere")
    assert (code, error.rpartition(",")[0]) == (3, "error: another worker is called one")


def test_celery_finds_the_app(farm: Farm) -> None:
    said = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "tasks", "inspect", "registered", "--json"],
        env=farm.environment("tester", "flower"),  # whose user may ask workers
        capture_output=True,
        text=True,
        check=True,
    )
    registered = json.loads(said.stdout)
    assert set(registered["stagefarm@one"]) == {
        *("stagefarm.source", "stagefarm.hooks"),
        *("stagefarm.pack", "stagefarm.gate", "stagefarm.publish"),
    }


def test_no_redis_is_one_clear_error(farm: Farm) -> None:
    said = subprocess.run(
        [sys.executable, "-m", "orchestrator", "status"],
        env={**os.environ, "STAGEFARM_REDIS_URL": "redis://u:secret@127.0.0.1:1/0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 4
    assert said.stderr.startswith("error: the farm's Redis at 127.0.0.1:1 does not answer")
    assert "secret" not in said.stderr
