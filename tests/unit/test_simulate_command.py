"""`stagefarm schedule simulate`: scenarios, what is wrong in them, figures, and what docs say."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import run
from orchestrator.commands.schedule_simulate import DAYS_MAX, POLICIES
from orchestrator.formats.reader import fields_of
from orchestrator.formats.scenariofile import (
    Loss,
    ScenarioBatch,
    Scenariofile,
    ScenarioHost,
    ScenarioStage,
)
from orchestrator.simulation.figures import Figures
from orchestrator.simulation.policies import Policy
from orchestrator.simulation.scenario import DAYS_MAX as DAYS_OF_A_SCENARIO
from orchestrator.simulation.scenario import load_scenario, scenario_of

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "jobs" / "simulation"
NIGHTLY = (ROOT / "docs" / "nightly.md").read_text()
PAGE = (ROOT / "docs" / "simulation.md").read_text()
SMALL = """
begin: 2026-03-01
days: 2
hosts:
- {name: one, queues: [x, y]}
batches:
- name: nightly
  schedule: {cron: "0 3 * * *"}
  stages:
  - {name: full, queues: [x, y], after: base, takes: 2h, max_age: 1d}
  - {name: base, queues: [x, y], takes: 30m}
  - {name: doc, queues: [x], after: only, takes: 5m}
  - {name: only, queues: [y], takes: 5m, priority: 8}
"""
WRONG = """
begin: soon
days: 0
hosts:
- name: a
  queues: [x]
  slots: 0
  lost: [{at: 2026-01-02, lasts: 1h}, {at: 2026-01-01, lasts: 3d}]
- {name: a, queues: [], lost: [{at: never, lasts: 1d}]}
batches:
- name: n
  schedule: {cron: "61 * * * *"}
  stages:
  - {name: m, queues: [x, xx], takes: 0, fails: 200%, after: several}
  - {name: m, queues: [x], takes: 1h, after: mm}
  - {name: several, queues: [y, z], takes: 1h}
  - {name: none, queues: [], takes: 1h}
- name: c
  schedule: []
  stages:
  - {name: m, queues: [x], takes: 1h, after: f}
  - {name: f, queues: [x], takes: 1h, after: m}
"""


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*arguments: object) -> tuple[int, str, str]:
        code = run([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def small(tmp_path: Path) -> Path:
    (tmp_path / "small.yaml").write_text(SMALL)
    return tmp_path / "small.yaml"


def test_every_policy_can_be_chosen() -> None:
    assert list(POLICIES) == list(Policy)
    assert DAYS_MAX == DAYS_OF_A_SCENARIO


def test_a_scenario_is_stages_by_queue_in_the_order_of_their_chains(small: Path) -> None:
    found = scenario_of(load_scenario(small).value)
    (batch,) = found.batches
    after = {stage.id: stage.after for stage in batch.stages}
    assert after == {
        "base x": "", "base y": "", "only y": "",
        "full x": "base x", "full y": "base y", "doc x": "only y",
    }  # fmt: skip
    order = [stage.id for stage in batch.stages]
    assert all(order.index(parent) < order.index(name) for name, parent in after.items() if parent)
    assert (found.end - found.begin, found.contracts["full y"]) == (2 * 86400, 86400)


def test_the_figures_are_shown_side_by_side(call: Any, small: Path) -> None:
    code, out, err = call("schedule", "simulate", small)
    assert (code, err) == (0, "")
    title, first, *_ = out.splitlines()
    assert title.split() == ["least-slack", "fifo", "stalest-first"]
    assert first.startswith("time in contract ")
    assert ["nights", "made", "2", "2", "2"] in [line.split() for line in out.splitlines()]


def test_the_figures_as_json(call: Any, small: Path) -> None:
    code, out, _ = call("schedule", "simulate", small, "--json", "--policy", "fifo", "--days", 3)
    (figures,) = json.loads(out).values()
    assert code == 0
    assert set(figures) == {item.name for item in fields(Figures)}
    assert (figures["nights"], figures["builds"]["succeeded"]) == (3, 18)
    assert figures["makespan"] == {"count": 3, "median_s": 18600, "p95_s": 18600, "worst_s": 18600}
    assert figures["hosts"] == {"one": pytest.approx(18600 / 86400)}


def test_all_that_happens_is_written_to_a_file(call: Any, small: Path, tmp_path: Path) -> None:
    trace = tmp_path / "events.jsonl"
    options = ("--policy", "fifo", "--policy", "stalest-first", "--trace", trace)
    assert call("schedule", "simulate", small, *options)[0] == 0
    events = [json.loads(line) for line in trace.read_text().splitlines()]
    assert {event["policy"] for event in events} == {"fifo", "stalest-first"}
    assert events[0] == {
        "policy": "fifo",
        "time": "2026-03-01T03:00:00.000+00:00",
        "event": "night made",
        "batch": "nightly",
        "night": "2026-03-01T03:00:00.000+00:00",
    }
    started = next(event for event in events if event["event"] == "started")
    assert (started["stage"], started["host"], started["slot"]) == ("only y", "one", 0)
    told = set(re.findall(r"`(\w+)`", re.search(r"each event \((.*?)\)", PAGE)[1]))  # type: ignore[index]
    assert {name for event in events for name in event} == told


def test_chance_is_drawn_from_the_seed(call: Any) -> None:
    def figures(*options: object) -> str:
        words = ("--policy", "fifo", "--days", 30, "--json", *options)
        return str(call("schedule", "simulate", SHIPPED / "mixed.yaml", *words)[1])

    assert figures() == figures("--seed", 1)
    assert figures() != figures("--seed", 2)


def test_all_that_is_wrong_in_a_scenario_is_told_with_its_line(call: Any, tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(WRONG)
    code, _, err = call("schedule", "simulate", file)
    found = re.findall(r"wrong\.yaml:(\d+):\d+: (.*)", err)
    assert code == 2
    assert [(int(line), text) for line, text in found] == [
        (2, "begin: 'soon' is not a time"),
        (3, "days: from 1 to 3,660 days can be simulated"),
        (5, "hosts: 'a' is there 2 times"),
        (7, "hosts[0].slots: a host has 1 to 1,000 slots"),
        (8, "hosts[0].lost: a is lost while it is away"),
        (9, "hosts[1].queues: `hosts[1].queues` is empty"),
        (9, "hosts[1].lost[0].at: 'never' is not a time"),
        (12, "batches[0].schedule.cron: '61 * * * *' is not a line of cron: Bad minute"),
        (14, "batches[0].stages: 'm x' is there 2 times"),
        (14, "batches[0].stages[0].queues: no host serves 'xx'"),
        (14, "batches[0].stages[0].takes: a build takes some time"),
        (14, "batches[0].stages[0].fails: no more than 100% of the builds can fail"),
        (14, "batches[0].stages[0].after: there are several 'several'"),
        (15, "batches[0].stages[1].after: n has no stage 'mm'"),
        (16, "batches[0].stages[2].queues: no host serves 'y'"),
        (16, "batches[0].stages[2].queues: no host serves 'z'"),
        (17, "batches[0].stages[3].queues: 'none' has no queue"),
        (19, "batches[1].schedule: the batch is never due"),
        (21, "batches[1].stages: stages start from each other: m x from f x from m x"),
    ]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("begin", "9999-12-31", "'9999-12-31' is not a time"),
        ("begin", "0001-01-01", "'0001-01-01' is not a time"),
        ("takes", "9999d", "longer than 3,660 days"),
        ("max_age", f"{'9' * 400}d", "longer than 3,660 days"),
        ("lasts", "1e9", "expected a duration"),
        ("lasts", "4000d", "longer than 3,660 days"),
        ("spread", "1001%", "1000% at most"),
    ],
)
def test_what_would_never_end_is_refused(
    call: Any, small: Path, key: str, value: str, message: str
) -> None:
    known = {"begin": "2026-03-01", "takes": "5m", "max_age": "1d", "lasts": "1h", "spread": "1%"}
    text = SMALL.replace("{name: one,", "{name: one, lost: [{at: 2026-03-02, lasts: 1h}],")
    text = text.replace("takes: 2h,", "takes: 2h, spread: 1%,")
    assert f"{key}: {known[key]}" in text
    small.write_text(text.replace(f"{key}: {known[key]}", f"{key}: {value}", 1))
    code, _, err = call("schedule", "simulate", small)
    assert (code, f"{key}: {message}" in err) == (2, True), err


def test_a_farm_that_is_never_done_is_traced_to_the_end(call: Any, tmp_path: Path) -> None:
    file, trace = tmp_path / "never.yaml", tmp_path / "events.jsonl"
    file.write_text(SMALL.replace("takes: 30m", "takes: 3660d").replace("days: 2", "days: 900")
                    .replace("schedule: {cron", "schedule: {overlap: allow, cron"))  # fmt: skip
    assert call("schedule", "simulate", file, "--policy", "fifo", "--trace", trace)[0] == 0
    last = json.loads(trace.read_text().splitlines()[-1])
    assert (last["event"], last["time"]) == ("night ended", "9999-12-31T23:59:59.000+00:00")


@pytest.mark.parametrize("share", ["30", "0.3", "-1%", "half", "1e3%"])
def test_a_share_is_a_percentage(call: Any, small: Path, share: str) -> None:
    small.write_text(SMALL.replace("takes: 30m", f"takes: 30m, spread: {share}"))
    code, _, err = call("validate", small)
    assert code == 2
    assert "spread: expected a percentage such as 2% or 0.5%, found" in err


def test_a_scenario_that_is_not_there(call: Any, tmp_path: Path) -> None:
    code, _, err = call("schedule", "simulate", tmp_path / "gone.yaml")
    assert (code, "gone.yaml: no such scenario" in err) == (2, True)


# What the documents say


@pytest.mark.parametrize("name", ["mixed", "overloaded"])
def test_the_figures_in_the_docs_are_those_of_the_shipped_scenario(call: Any, name: str) -> None:
    command, _, shown = NIGHTLY.partition(f"simulate jobs/simulation/{name}.yaml\n")
    told = [line.strip() for line in shown.partition("\n\n")[0].splitlines()]
    lines = [
        line.strip()
        for line in call("schedule", "simulate", SHIPPED / f"{name}.yaml")[1].splitlines()
    ]
    assert command
    assert len(told) > 4
    assert told == lines[: len(told)]


def test_least_slack_keeps_more_contracts_where_they_can_be_kept(call: Any) -> None:
    def in_contract(name: str) -> dict[str, float]:
        shown = json.loads(call("schedule", "simulate", "--json", SHIPPED / f"{name}.yaml")[1])
        return {policy: figures["ages"]["in_contract"] for policy, figures in shown.items()}

    mixed, overloaded = in_contract("mixed"), in_contract("overloaded")
    out_of_contract = {policy: 1 - kept for policy, kept in mixed.items()}
    assert out_of_contract["least-slack"] < 0.2 * out_of_contract["fifo"]
    assert out_of_contract["least-slack"] < 0.2 * out_of_contract["stalest-first"]
    assert overloaded["least-slack"] < overloaded["stalest-first"] - 0.1


def test_every_key_is_told() -> None:
    kinds = (Scenariofile, ScenarioHost, Loss, ScenarioBatch, ScenarioStage)
    names = {info.name for kind in kinds for info in fields_of(kind)}
    told = re.findall(r"`(\w+)(?:\[\])?`", PAGE)
    assert names - set(told) == set()


def test_the_example_of_the_docs_is_a_scenario(call: Any, tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "example.yaml").write_text(example)
    code, out, _ = call("validate", tmp_path / "example.yaml")
    assert (code, "scenario, 2 stages on 1 host, 365 days" in out) == (0, True)
