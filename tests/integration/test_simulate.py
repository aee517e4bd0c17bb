"""Simulations of real batch files, with the past of their builds and the hosts from the ledger."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import run
from orchestrator.farm.history import Past, history_of, past_of
from orchestrator.farm.simulated import Expectations, batch_of
from orchestrator.formats.scenariofile import Publish
from orchestrator.simulation.model import Host
from tasks.ledger.builds import Ledger
from tasks.ledger.hosts import Hosts
from tasks.ledger.records import Record
from tasks.model import BuildState
from tasks.settings import Settings, current
from tests.ledgers import ARTIFACT, ATTEMPTS, ONE, QUEUE, TWO, a_build, claimed

pytestmark = pytest.mark.redis

SPEC = """
jobs:
- name: base
  source: {type: file, path: /srv/seed.tar}
  output: {type: file, name: 'base-{{ .Values.release }}.tar', dir: out}
  options: &options {arch: x86-64bit, subarch: generic_64}
- name: full
  source: {type: file, path: 'out/base-{{ .Values.release }}.tar'}
  output: {type: file, name: 'full-{{ .Values.release }}.tar', dir: out}
  options: *options
"""
BATCH = """
schedule: {cron: "30 2 * * *", timezone: Europe/Berlin}
builds:
- {specfile: stages.yaml, matrix: {release: [next, mark]}, priority: 3}
"""
RELEASE = """
stages:
- {jobs: [full], max_age: 2d}
- {jobs: [base]}
targets: [{to: mirror}]
"""
HOST = "hosts: [{name: one, queues: [x86-64bit.generic_64]}]\n"
NOW = datetime(2026, 3, 1, tzinfo=UTC)
HOUR_S, FULL, BASE = 3600.0, ("full", "release=next", QUEUE), ("base", "release=next", QUEUE)


@pytest.fixture
def farm(tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the batch `nightly.yaml`, on a machine of the farm that has `ledger`."""
    (tmp_path / "stages.yaml").write_text(SPEC)
    (tmp_path / "nightly.yaml").write_text(BATCH)
    (tmp_path / "releases").mkdir()
    (tmp_path / "releases" / "stages.yaml").write_text(RELEASE)
    port = ledger.connection.client.connection_pool.connection_kwargs["port"]
    monkeypatch.setenv("STAGEFARM_REDIS_URL", f"redis://127.0.0.1:{port}/0")
    monkeypatch.setenv("STAGEFARM_KEY_PREFIX", "t")
    monkeypatch.setenv("STAGEFARM_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("STAGEFARM_RELEASE_DIR", str(tmp_path / "releases"))
    current.cache_clear()
    yield tmp_path
    current.cache_clear()


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*arguments: object) -> tuple[int, str, str]:
        code = run(["schedule", "simulate", *map(str, arguments)])
        return code, *capsys.readouterr()

    return call


def took(ledger: Ledger, name: str, hours: float, **changes: object) -> None:
    """A build that succeeded so long after it was claimed."""
    claim = claimed(ledger, a_build(name, **changes))
    client = ledger.connection.client
    client.hset(f"t:build:{name}", "claimed", ledger.now() - hours * HOUR_S)
    ledger.finish(claim, (ARTIFACT,), "")


def record(**changes: object) -> Record:
    given = {"id": "b", "job": "full", "queue": QUEUE, "variant": "release=next", "attempt": 1,
             "titles": (), "state": BuildState.SUCCEEDED, **changes}  # fmt: skip
    return Record(**given)  # type: ignore[arg-type]


def test_the_past_of_builds_is_median_spread_and_failures() -> None:
    hours = (1, 2, 4)
    records = [record(claimed=1e9, ended=1e9 + one * HOUR_S) for one in hours]
    records += [record(state=BuildState.FAILED), record(state=BuildState.RUNNING, claimed=1e9)]
    found = past_of(records)[FULL]
    assert (found.takes_s, found.fails) == (2 * HOUR_S, 0.25)
    # Logarithms of 1, 2, 4 are -ln 2, 0, ln 2 around their mean.
    assert found.spread == pytest.approx(math.exp(math.log(2) * math.sqrt(2 / 3)) - 1)


@pytest.mark.parametrize(
    "impossible", [{"claimed": 1e9, "ended": 9e8}, {"claimed": 1e9, "ended": 2e9}, {"ended": 1e9}]
)
def test_what_cannot_be_is_no_past(impossible: dict[str, float]) -> None:
    assert past_of([record(**impossible), record(state=BuildState.FAILED)]) == {}
    possible = record(claimed=1e9, ended=1e9 + 60)
    assert past_of([record(**impossible), possible]) == {FULL: Past(takes_s=60)}


def test_the_history_of_a_farm(ledger: Ledger, client: Any) -> None:
    took(ledger, "b-1", 1, job="full", variant="release=next")
    took(ledger, "b-2", 3, job="full", variant="release=next")
    took(ledger, "b-3", 9, job="full", variant="release=next", rebuild_of="b-1")
    took(ledger, "b-4", 5, job="base")
    hosts = Hosts(ledger.connection)
    for holder, slots in ((ONE, 2), (TWO, 1)):
        hosts.register(holder, ATTEMPTS, {"slots": slots, "queues": f"{QUEUE} host.{holder.host}"})
    hosts.drain("two")
    client.zadd("t:builds", {"b-gone": 1})
    found = history_of(ledger)
    assert {key: round(past.takes_s / HOUR_S, 2) for key, past in found.past.items()} == {
        FULL: 2,
        ("base", "", QUEUE): 5,
    }
    assert found.hosts == (Host(name="one", queues=(QUEUE, "host.one"), slots=2),)


def test_a_batch_is_planned_as_its_night_would_be(farm: Path) -> None:
    expected = Expectations(past={FULL: Past(takes_s=60, spread=0.2, fails=0.1)}, takes_s=600)
    found = batch_of(farm / "nightly.yaml", NOW, expected, Settings())
    assert (found.name, found.publish, found.lines[0].timezone) == (
        "nightly", Publish.BUILD, "Europe/Berlin",
    )  # fmt: skip
    stages = {stage.id: stage for stage in found.stages}
    full = stages[f"full release=next {QUEUE}"]
    assert (full.takes_s, full.spread, full.fails, full.priority) == (60, 0.2, 0.1, 3)
    assert (full.after, full.queue, full.max_age_s) == (f"base release=next {QUEUE}", QUEUE, 0)
    assert stages[f"full release=mark {QUEUE}"].takes_s == 600
    assert sorted(expected.unknown) == sorted(stages.keys() - {full.id})


def test_contracts_are_those_of_the_release_that_the_batch_names(farm: Path) -> None:
    batch = farm / "nightly.yaml"
    batch.write_text(f"release: stages\n{BATCH}")
    expected = Expectations(past={}, takes_s=600)
    here = batch_of(batch, NOW, expected, current())
    assert {stage.id.split()[0]: stage.max_age_s for stage in here.stages} == {
        "base": 0.0,
        "full": 2 * 24 * HOUR_S,
    }
    assert here.publish is Publish.NIGHT
    elsewhere = batch_of(batch, NOW, expected, Settings(release_dir=str(farm / "gone")))
    assert {stage.max_age_s for stage in elsewhere.stages} == {0.0}


def test_the_nights_of_a_farm_are_simulated_from_its_history(
    farm: Path, ledger: Ledger, call: Any
) -> None:
    for number, (job, hours) in enumerate([("base", 1), ("full", 2)]):
        for release in ("next", "mark"):
            name = f"{job}-{release}-{number}"
            took(ledger, name, hours, job=job, variant=f"release={release}")
    Hosts(ledger.connection).register(ONE, ATTEMPTS, {"slots": 1, "queues": QUEUE})
    words = ("--from-history", "--from-batches", farm / "nightly.yaml", "--days", 2, "--json")
    code, out, err = call(*words, "--policy", "fifo")
    assert (code, err) == (0, "")
    figures = json.loads(out)["fifo"]
    assert (figures["nights"], figures["builds"]["succeeded"]) == (2, 8)
    assert figures["makespan"]["median_s"] == pytest.approx(6 * HOUR_S, rel=1e-3)


def test_hosts_of_a_scenario_build_real_batches_beside_its_own(farm: Path, call: Any) -> None:
    """Without the farm: nothing is known of its builds."""
    (farm / "farm.yaml").write_text(
        HOST + "days: 1\nbatches:\n- name: fix\n  schedule: {cron: 0 12 * * *}\n"
        "  stages: [{name: fix, queues: [x86-64bit.generic_64], takes: 5m, priority: 8}]\n"
    )
    words = (farm / "farm.yaml", "--from-batches", farm / "nightly.yaml", "--takes", "30m")
    code, out, err = call(*words, "--json", "--policy", "least-slack")
    figures = json.loads(out)["least-slack"]
    assert code == 0
    assert (figures["nights"], figures["builds"]["succeeded"]) == (2, 5)
    assert figures["makespan"]["worst_s"] == 2 * HOUR_S
    assert "nothing is known of 4 stages, so they take 30m: base release=next" in err
    assert err.rstrip().endswith("...")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "there is nothing to simulate"),
        (["--from-history"], "--from-history needs batch files"),
        (["--from-batches", "nightly.yaml"], "there are no hosts"),
        (["--from-batches", "nightly.yaml", "--from-history"], "there are no hosts"),
        (["farm.yaml"], "farm.yaml:1:1: batches: there are no `batches`"),
        (["farm.yaml", "--from-batches", "once.yaml"], "once.yaml has no `schedule:`"),
        (["farm.yaml", "--from-batches", "gone.yaml"], "gone.yaml: no such batch file"),
        (["farm.yaml", "--from-batches", "bad.yaml"], "bad.yaml:1:39: builds[0].job: "),
        (["arm.yaml", "--from-batches", "nightly.yaml"], f"no host serves {QUEUE}"),
        (["farm.yaml", *["--from-batches", "nightly.yaml"] * 2], "2 batches are called 'nightly'"),
        (["farm.yaml", "--from-batches", "nightly.yaml", "--takes", "1x"], "--takes 1x is no"),
        (["farm.yaml", "--from-batches", "nightly.yaml", "--takes", "0s"], "--takes 0s is no"),
    ],
)
def test_what_cannot_be_simulated_is_said(
    farm: Path, call: Any, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(farm)
    Path("farm.yaml").write_text(HOST)
    Path("arm.yaml").write_text(HOST.replace("x86-64bit", "arm"))
    Path("once.yaml").write_text("builds: [{specfile: stages.yaml, job: base}]")
    Path("bad.yaml").write_text("builds: [{specfile: stages.yaml, job: bse}]")
    code, out, err = call(*words)
    assert (code, out) == (2, "")
    assert message in err
