"""Builds that start from what others make, on a real farm."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tasks.errors import BadInput
from tasks.ledger.answers import CancelOutcome, ClaimedAttempt, ClaimOutcome, EndOutcome, Holder
from tasks.ledger.records import Record
from tasks.ledger.waiting import Waiting
from tasks.model import BuildState, short_id
from tasks.results import Artifact
from tests.farm import Farm
from tests.redis_server import RedisServer

pytestmark = [pytest.mark.redis, pytest.mark.root]
ONE = Holder("nobody", "life-1")
MADE = (Artifact(name="job.tar", path="file:///job.tar", size_bytes=1, sha256="ab"),)
SPECFILE = """
version: "1"
engine: jinja2
anchors: &common
  options: {{arch: x86-64bit, subarch: generic_64, greeting: hello}}
  workspacedir: {folder}/workspace
  hooks_basedir: .
  hooks_files: [hooks.yaml]
jobs:
  - <<: *common
    name: full
    source: {{type: file, path: "out/base-{{{{ options.subarch }}}}.tar"}}
    output: {{type: file, name: "full-{{{{ options.subarch }}}}.tar", dir: out}}
  - <<: *common
    name: base
    source: {{type: file, path: {seed}}}
    output: {{type: file, name: "base-{{{{ options.subarch }}}}.tar", dir: out}}
"""
HOOKS = """
hooks:
  - name: greet
    type: inner-chroot
    commands: [test $greeting != refused, echo $greeting $subarch >> /greetings]
"""
BATCH = """
name: night
builds:
  - specfile: stages.yaml
    matrix: {subarch: [generic_64, haswell]}
"""


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory, seed: Path, can_isolate: None) -> Iterator[Farm]:
    """A farm of two hosts, each with a queue of its own."""
    folder = tmp_path_factory.mktemp("farm")
    (folder / "stages.yaml").write_text(SPECFILE.format(seed=seed, folder=folder))
    (folder / "hooks.yaml").write_text(HOOKS)
    (folder / "batch.yaml").write_text(BATCH)
    farm = Farm(folder, seed, RedisServer(folder / "redis"))
    farm.redis.start()
    try:
        farm.worker("one")
        farm.worker("two", "x86-64bit.haswell")
        yield farm
    finally:
        farm.end()


def submitted(farm: Farm, *options: str) -> tuple[str, list[Record]]:
    """The batch, once all of it has ended."""
    said = farm.command("submit", "--batch", str(farm.folder / "batch.yaml"), "--follow", *options)
    (batch, *_) = farm.ledger.batches()
    return said.stdout + said.stderr, farm.ledger.records(farm.ledger.batch(batch))


def test_a_job_starts_from_the_tarball_of_another(farm: Farm) -> None:
    said, records = submitted(farm)
    states = [(record.job, record.variant, str(record.state)) for record in records]
    assert states == [
        ("base", "subarch=generic_64", "succeeded"),
        ("base", "subarch=haswell", "succeeded"),
        ("full", "subarch=generic_64", "succeeded"),
        ("full", "subarch=haswell", "succeeded"),
    ], said + farm.logs()
    assert (
        f"{short_id(records[3].id)}: blocked until {short_id(records[1].id)} has succeeded" in said
    )
    (made,) = records[3].artifacts
    with tarfile.open(urlsplit(made.path).path) as tar:
        greetings = tar.extractfile("./greetings")
        assert greetings is not None
        assert greetings.read() == b"hello haswell\n" * 2
    (night,) = json.loads(farm.command("status", "--batches", "--json").stdout)
    assert (night["batch"], night["counts"]) == (records[0].batch, {"succeeded": 4})
    assert "4 succeeded" in farm.command("status", "--batches").stdout
    shown = json.loads(farm.command("lineage", records[3].id, "--json").stdout)
    assert [one["build"] for one in shown["generations"]] == [records[3].id, records[1].id]
    assert shown["generations"][0]["origin"] == {
        "uri": f"urn:stagefarm:build:{records[1].id}",
        "verified": [f"stagefarm {records[1].id}"],
    }
    assert (shown["end"]["why"], shown["shown"]) == ("root", True)
    fetched = farm.command("fetch", records[0].batch)
    assert fetched.stdout.splitlines() == [
        str(farm.folder / "out" / record.artifacts[0].name) for record in records
    ]
    names = {path.name for path in (farm.folder / "out").iterdir()}
    assert {"full-haswell.tar", "full-haswell.tar.sha256", "full-haswell.tar.build.json"} <= names


def test_a_chain_ends_where_it_breaks_and_is_retried_whole(farm: Farm) -> None:
    said, records = submitted(farm, "-o", "greeting=refused")
    assert [str(record.state) for record in records] == ["failed"] * 2 + ["cancelled"] * 2, said
    assert "4 of 4 builds did not succeed" in said
    assert records[2].cancel == f"{records[0].id}, which it starts from, failed"
    base, full = short_id(records[0].id), short_id(records[2].id)
    retried = farm.command("retry", records[0].batch, "--follow")
    said = retried.stdout.splitlines()
    assert f"{base}: queued as attempt 2" in said
    assert f"{full}: blocked as attempt 2" in said
    assert f"{full}: cancelled: {records[0].id}, which it starts from, failed" in said
    assert retried.returncode == 1
    assert f"hint: stagefarm logs {base}" in retried.stderr
    refused = farm.command("fetch", base)
    assert (refused.returncode, refused.stderr.splitlines()[0]) == (2, f"error: {base} is failed")
    assert farm.command("follow").stdout == "no builds are running or waiting\n"


def a_chain(farm: Farm) -> list[str]:
    """The ids of three builds, each of which starts from what the one before makes, in a queue
    that nobody serves."""
    first, second, third = (farm.build(subarch="none") for _ in range(3))
    builds = [first, replace(second, after=first.id), replace(third, after=second.id)]
    return [build.id for build in farm.submit(*builds)]


def states(farm: Farm, builds: list[str]) -> list[str]:
    return [str(record.state) for record in farm.ledger.records(builds)]


def test_a_build_is_blocked_until_the_one_it_starts_from_has_succeeded(farm: Farm) -> None:
    builds = a_chain(farm)
    ledger, claim = farm.ledger, ClaimedAttempt(builds[0], 1, ONE)
    assert states(farm, builds) == ["queued", "blocked", "blocked"]
    _, waiting = Waiting(ledger.connection).late(0, 100)
    assert [one.build for one in waiting if one.queue == "x86-64bit.none"] == builds[:1]
    assert ledger.claim(ClaimedAttempt(builds[1], 1, ONE), 90) is ClaimOutcome.STALE
    why = farm.command("why", builds[1]).stdout.strip()
    assert (
        why
        == f"It starts from the tarball of {builds[0]}, which is queued: stagefarm why {builds[0]}"
    )
    assert ledger.claim(claim, 90) is ClaimOutcome.CLAIMED
    assert states(farm, builds) == ["running", "blocked", "blocked"]
    assert ledger.finish(claim, MADE, "file:///store") is EndOutcome.OK
    assert states(farm, builds) == ["succeeded", "queued", "blocked"]
    assert [record.id for record in ledger.followers(builds[0])] == builds[1:2]
    assert ledger.cancel(builds[1], "enough") is CancelOutcome.CANCELLED
    assert states(farm, builds) == ["succeeded", "cancelled", "cancelled"]


def test_what_is_submitted_too_late_is_cancelled(farm: Farm) -> None:
    builds = a_chain(farm)
    claim = ClaimedAttempt(builds[0], 1, ONE)
    assert farm.ledger.claim(claim, 90) is ClaimOutcome.CLAIMED
    assert farm.ledger.fail(claim, "HookFailed", "it broke", "") is EndOutcome.OK
    assert states(farm, builds) == ["failed", "cancelled", "cancelled"]
    (late,) = farm.submit(replace(farm.build(subarch="none"), after=builds[0]))
    assert farm.record(late).state is BuildState.CANCELLED
    with pytest.raises(BadInput, match=f"{late.id} starts from the output of {builds[0]}"):
        farm.ledger.retry(late.id, "request")


def test_what_was_forgotten_blocks_nobody(farm: Farm) -> None:
    (build,) = farm.submit(replace(farm.build(), after="gone-1"))
    (record,) = farm.wait(build)
    assert record.reason == "gone-1 has no artifact seed.tar to start from"
