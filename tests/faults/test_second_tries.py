"""A build that fails is tried once by another host: the stage is broken, or the host is sick."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.farm.second_opinions import blamed
from tasks.ledger.hosts import Hosts
from tasks.ledger.records import Attempt, Record
from tasks.model import Build, BuildState, HookType, Source, SourceType
from tasks.results import Blamed
from tests.farm import LIMIT_S, QUICK, Farm
from tests.farm_builds import attempts_begun, hook
from tests.redis_server import RedisServer
from tests.waiting import eventually

pytestmark = [pytest.mark.redis, pytest.mark.root]

BROKEN = "echo 'ld: /usr/lib/crt1.o: file format not recognized'; exit 1"
SICK = f"case $PWD in */hosts/one/*) {BROKEN};; esac"
DIFFERENT = "case $PWD in */hosts/one/*) exit 1;; esac; echo 'No space left on device'; exit 28"


@pytest.fixture
def farm(tmp_path: Path, seed: Path, can_isolate: None, host_unchanged: None) -> Iterator[Farm]:
    quick = {**QUICK, "second_tries": True, "drain_suspects": 2}
    farm = Farm(tmp_path, seed, RedisServer(tmp_path / "redis"), quick=quick)
    farm.redis.start()
    try:
        yield farm
    finally:
        farm.end()


def failing(farm: Farm, how: str, name: str = "stage", **more: object) -> Build:
    """A build whose second step notes its attempt, and fails as `how` says."""
    note = f"echo $PWD >> {farm.folder}/notes; {how}"
    build = farm.build_of((hook(note, kind=HookType.OUTER_PRE_CHROOT),), name=name)
    return replace(build, **more)  # type: ignore[arg-type]


def concluded(farm: Farm, build: Build) -> Record:
    """The record, once the second try of the build is concluded."""
    assert eventually(lambda: farm.record(build).second_try is not None, LIMIT_S), farm.logs()
    return farm.record(build)


def test_what_passes_elsewhere_succeeds_and_makes_its_host_suspect(farm: Farm) -> None:
    farm.worker("one")
    base = failing(farm, SICK, batch="night")
    source = Source(type=SourceType.FILE, path=f"{base.output.dir}/{base.output.name}")
    follower = farm.build(name="full", batch="night", after=base.id, source=source)
    other = failing(farm, SICK, name="other", batch="night")
    farm.submit(base, follower, other)
    farm.wait(base, follower, other)
    assert all(record.cause for record in farm.ledger.records([base.id, other.id]))
    assert farm.record(follower).state is BuildState.CANCELLED
    farm.start(["supervisor"])
    farm.worker("two", slots=2)
    first = concluded(farm, base)
    second = concluded(farm, other)
    farm.wait(base, follower, other, state=BuildState.SUCCEEDED)
    for record in (first, second):
        assert record.second_try
        assert (record.second_try.outcome, record.second_try.host) == (Blamed.HOST, "one")
        assert record.second_try.url.startswith(farm.store.as_uri())
    assert attempts_begun(farm, base) == ["1", "2"]
    (summary,) = farm.ledger.summaries(["night"])
    assert summary.counts == {BuildState.SUCCEEDED: 3}
    hosts = {host.name: host for host in Hosts(farm.ledger.connection).all()}
    assert hosts["one"].drained
    assert not hosts["two"].drained
    assert "suspect: 2 of its last 2 failures passed" in farm.command("workers").stdout
    assert "failed on one and passed on two: one is suspect" in farm.command("why", base.id).stdout
    assert farm.command("undrain", "one").returncode == 0
    assert "suspect" not in farm.command("workers").stdout


def test_what_fails_alike_is_broken_and_is_tried_no_third_time(farm: Farm) -> None:
    farm.worker("one")
    build, unclear = failing(farm, BROKEN), failing(farm, DIFFERENT, name="unclear")
    farm.submit(build, unclear)
    farm.wait(build, unclear)
    farm.worker("two")
    farm.start(["supervisor"])
    record = concluded(farm, build)
    assert record.state is BuildState.FAILED
    assert record.second_try
    assert (record.second_try.outcome, record.second_try.other) == (Blamed.STAGE, "two")
    assert (record.second_try.host, record.cause is not None) == ("one", True)
    other = concluded(farm, unclear).second_try
    assert other
    assert other.outcome is Blamed.UNCLEAR
    assert "the stage is broken" in farm.command("status", build.id).stdout
    assert not any(host.drained for host in Hosts(farm.ledger.connection).all())
    assert farm.command("retry", build.id).returncode == 0
    assert eventually(lambda: farm.record(build).attempt == 4, LIMIT_S), "a retry is tried again"
    concluded(farm, build)
    assert attempts_begun(farm, build) == ["1", "2", "3", "4"]


def test_a_build_that_is_tried_again_counts_as_failed_in_its_batch(farm: Farm) -> None:
    farm.worker("one")
    build = failing(farm, f"{SICK}; while ! test -e {farm.folder}/go; do sleep 0.1; done")
    build = replace(build, batch="night")
    farm.submit(build)
    farm.wait(build)
    farm.worker("two")
    farm.start(["supervisor"])
    farm.wait(build, state=BuildState.RUNNING)
    assert farm.ledger.summaries(["night"])[0].counts == {BuildState.FAILED: 1}
    (farm.folder / "go").touch()
    concluded(farm, build)
    assert farm.ledger.summaries(["night"])[0].counts == {BuildState.SUCCEEDED: 1}


def attempt(how: str, host: str, fingerprint: str = "", reason: str = "exit 1") -> Attempt:
    return Attempt(number=1, how=how, host=host, fingerprint=fingerprint, reason=reason)


@pytest.mark.parametrize(
    ("second", "outcome"),
    [
        (attempt("succeeded", "two"), Blamed.HOST),
        (attempt("failed", "two", "f1"), Blamed.STAGE),
        (attempt("failed", "two", "f2"), Blamed.UNCLEAR),
        (attempt("failed", "two"), Blamed.UNCLEAR),
        (attempt("lost", "two", "f1"), Blamed.UNCLEAR),
        (attempt("cancelled", "two"), Blamed.UNCLEAR),
        (attempt("failed", "one", "f1"), Blamed.UNCLEAR),
        (attempt("cancelled", ""), Blamed.UNCLEAR),
        (None, Blamed.UNCLEAR),
    ],
)
def test_who_is_blamed(second: Attempt | None, outcome: Blamed) -> None:
    assert blamed(attempt("failed", "one", "f1"), second) is outcome


def test_failures_that_no_rule_knows_are_alike_by_their_reasons() -> None:
    one, two = attempt("failed", "one"), attempt("failed", "two")
    assert blamed(one, two) is Blamed.STAGE
    assert blamed(replace(one, reason="exit 2"), two) is Blamed.UNCLEAR
