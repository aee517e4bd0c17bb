"""A build rendered a second time is the same build, except for what has changed."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from orchestrator.commands.change import retry
from orchestrator.formats.spec import load_specfile
from orchestrator.planning.plan import PlanOptions
from orchestrator.planning.prepare import render_again, render_and_plan
from tasks.errors import BadInput
from tasks.model import Build

NOW = datetime(2026, 3, 1, 12, 30, 1, 123456, timezone(timedelta(hours=1), "CET"))
SPEC = """
jobs:
- name: stage
  source: {type: file, path: seed.tar}
  output: {name: "x-{{ now.Format \\"20060102 MST\\" }}.tar", dir: out}
  workspacedir: w
  options: {arch: x86-64bit, subarch: generic_64, flavour: {a: 1, b: 2}}
  hooks_files: [one.yml]
"""
HOOKS = "hooks: [{commands: ['echo {{ .Values.flavour.a }} {{ .Values.big }} {{ now }}']}]"


@pytest.fixture
def submitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    (tmp_path / "s.yaml").write_text(SPEC)
    (tmp_path / "one.yml").write_text(HOOKS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    return render_and_plan(
        load_specfile(Path("s.yaml")),
        "stage",
        overrides={"flavour": {"a": "ü"}, "big": 2**70},
        now=NOW,
        options=PlanOptions(farm=True, batch="b-1", priority=4, timeout_s=9.0, max_age_s=7.0),
    )


def test_it_is_the_same_build(submitted: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    assert submitted.output.name == "x-20260301 +0100.tar"
    assert submitted.source_date_epoch == 1_700_000_000
    again = render_again(submitted)
    assert again == submitted
    assert render_again(again) == submitted


def test_a_changed_hook_file_is_read_again(submitted: Build, tmp_path: Path) -> None:
    (tmp_path / "one.yml").write_text("hooks: [{commands: [changed]}]")
    commands = [hook.commands for step in render_again(submitted).steps for hook in step.hooks]
    assert commands == [("changed",)]


def test_it_is_rendered_only_where_its_files_are(submitted: Build, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").unlink()
    with pytest.raises(BadInput, match=r"s\.yaml is not on this machine"):
        render_again(submitted)
    with pytest.raises(BadInput, match="has no record of how it was rendered"):
        render_again(replace(submitted, now=""))


@pytest.mark.parametrize("name", ["--reload-spec", "--mended"])
def test_the_option_is_also_known_by_its_former_name(name: str) -> None:
    context = retry.make_context("retry", ["stage-1", name])
    assert context.params["respecified"] is True
    assert "--mended" not in retry.get_help(context)
