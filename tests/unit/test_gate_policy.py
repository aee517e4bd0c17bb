"""Gate files: defaults, short forms, overrides, mistakes."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

from orchestrator.cli import run
from orchestrator.formats.gatefile import (
    Checks,
    FaultRule,
    Gatefile,
    LicenceRule,
    LinkRule,
    Override,
    Rule,
    SizeRule,
    Verdict,
    load_gate,
)
from orchestrator.formats.reader import fields_of
from tasks.errors import SpecProblems


def load(folder: Path, text: str) -> Gatefile:
    file = folder / "gate.yaml"
    file.write_text(text)
    return load_gate(file).value


@pytest.mark.parametrize("text", ["", "checks: {}\n", "checks:\n", "checks: {setuid: }\n"])
def test_an_empty_policy_has_the_defaults(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, text) == Gatefile()


def test_a_verdict_alone_is_a_rule(tmp_path: Path) -> None:
    checks = load(tmp_path, "checks: {setuid: warn, setgid: {ignore: [/x]}}").checks
    assert checks == Checks(setuid=Rule(verdict=Verdict.WARN), setgid=Rule(ignore=("/x",)))


def test_keys_that_are_left_out_are_those_of_the_check_not_of_its_kind(tmp_path: Path) -> None:
    checks = load(tmp_path, "checks: {packages_added: {ignore: [linux-*]}}").checks
    assert checks.packages_added == Rule(verdict=Verdict.WARN, ignore=("linux-*",))


def test_overrides_are_laid_over_the_checks_of_the_file(tmp_path: Path) -> None:
    policy = load(
        tmp_path,
        "checks: {tree_size: {grow: 10, verdict: warn}, setuid: pass}\n"
        "overrides:\n"
        "- {variant: '*musl*', arch: arm*, checks: {tree_size: {grow: 30, shrink: 5}}}\n"
        "- {variant: '*musl*', checks: {setuid: hold}}\n",
    )
    arm = policy.checks_for(product="stage3", variant="musl-hardened", arch="arm64")
    assert arm.tree_size == SizeRule(verdict=Verdict.WARN, grow=30, shrink=5)
    assert arm.setuid.verdict is Verdict.PASS
    pc = policy.checks_for(product="stage3", variant="musl-hardened", arch="amd64")
    assert (pc.tree_size.grow, pc.setuid.verdict) == (10, Verdict.HOLD)
    assert policy.checks_for(product="stage3") == policy.checks


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(SpecProblems) as failed:
        load(folder, text)
    file = f"{folder / 'gate.yaml'}:"
    return [f"{item} ({item.hint})".removeprefix(file) for item in failed.value.problems]


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    assert problems(
        tmp_path,
        "checks:\n  packges_lost: hold\n  setgid: maybe\n  setuid: {verdict: wran}\n"
        "  caches: [x]\n  tree_size: {grow: -1}\nhold_remindr: 7d\n",
    ) == [
        "2:3: checks.packges_lost: unknown key (did you mean `packages_lost`?)",
        (
            "3:11: checks.setgid.verdict: unsupported setgid verdict 'maybe': "
            "use one of pass, warn, hold ()"
        ),
        (
            "4:21: checks.setuid.verdict: unsupported setuid verdict 'wran': "
            "use one of pass, warn, hold (did you mean `warn`?)"
        ),
        "5:11: checks.caches: expected a mapping, found a list (write `key: value`)",
        "6:21: checks.tree_size.grow: expected a whole number, 0 or more, found `-1` ()",
        "7:1: hold_remindr: unknown key (did you mean `hold_reminder`?)",
    ]


def test_mistakes_of_sense_are_told_at_once(tmp_path: Path) -> None:
    assert problems(
        tmp_path,
        "checks:\n  tree_size: {least: 2G, most: 1G}\n  tarball_size: {shrink: 120}\n"
        "overrides:\n- {product: x}\n- {product: y, checks: {folder_size: {shrink: 101}}}\n"
        "notify: [nobody]\nrequire_tests: [shell, shell]\n",
    ) == [
        "2:22: checks.tree_size.least: `least` is larger than `most` ()",
        "3:26: checks.tarball_size.shrink: nothing shrinks so far (in percent: at most 100)",
        "5:3: overrides[0]: `checks` is missing (name what is different)",
        (
            "6:47: overrides[1].checks.folder_size.shrink: nothing shrinks so far "
            "(in percent: at most 100)"
        ),
        (
            "7:10: notify[0]: this is not a URL of Apprise "
            "(such as mailto://user:password@example.org)"
        ),
        "8:24: require_tests[1]: shell is there twice ()",
    ]


def test_validate_recognises_a_gate_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "g.yaml"
    file.write_text("notify: ['json://localhost']\nchecks: {setuid: pass}\n")
    assert run(["validate", str(file)]) == 0
    assert f"{file}: gate, checks: " in (shown := capsys.readouterr().out)
    assert ", 1 pass" in shown
    file.write_text("checks: {setuid: {verdct: warn}}\n")
    assert run(["validate", "--json", str(file)]) == 2
    (verdict,) = json.loads(capsys.readouterr().out)
    assert (verdict["kind"], verdict["problems"][0]["hint"]) == ("gate", "did you mean `verdict`?")


TEXT = (Path(__file__).parents[2] / "docs/gate.md").read_text()


def test_the_docs_tell_every_check_and_its_default() -> None:
    told = re.findall(r"^\| `(\w+)` \| (?:change|fault) \| (\w+) \|", TEXT, re.MULTILINE)
    assert told == [
        (item.name, str(getattr(Checks(), item.name).verdict)) for item in fields(Checks)
    ]


def section(title: str) -> str:
    pattern = rf"^##+ {re.escape(title)}\n(.*?)(?=^##|\Z)"
    match = re.search(pattern, TEXT, re.DOTALL | re.MULTILINE)
    assert match, title
    return match[1]


def test_the_docs_tell_every_key() -> None:
    kinds = {
        "Policy files": (Gatefile,),
        "`overrides[]`": (Override,),
        "A check's keys": (Rule, FaultRule, SizeRule, LinkRule, LicenceRule),
    }
    for title, wanted in kinds.items():
        rows = re.findall(r"^\| (`.*?`) \|", section(title), re.MULTILINE)
        told = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
        assert told == {info.name for kind in wanted for info in fields_of(kind)}


def test_the_example_of_the_docs_is_valid(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", section("Policy files"), re.DOTALL)
    policy = load(tmp_path, example)
    assert policy.checks.packages_added.verdict is Verdict.PASS
    assert policy.overrides[0].checks.tree_size == SizeRule(grow=30, shrink=5)
