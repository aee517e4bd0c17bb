"""`stagefarm cause`, and the cause that `run` shows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.cli import run
from tasks.causes.kept_log import KEPT_LINES, KeptLog
from tasks.errors import HookFailed
from tasks.reporting import Line, Silent
from tasks.settings import Settings

Captured = pytest.CaptureFixture[str]
RULE = """
[[rule]]
name = "ours"
kind = "frob"
match = 'frobnicator: (?P<message>.+)'
example = ["frobnicator: jammed"]
"""


def test_a_log_with_a_cause(tmp_path: Path, capsys: Captured) -> None:
    log = tmp_path / "build.log"
    log.write_text("checking\nx.c:1:2: error: bad \x1b]0;title\x07type\n")
    assert run(["cause", str(log)]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.startswith("compile: bad type; fingerprint ")
    assert first.endswith("; log lines 1-2 (rule gcc-error)")
    assert lines[1] == "  >      2 │ x.c:1:2: error: bad type"
    assert run(["cause", str(log), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rule"] == "gcc-error"


def test_a_log_without_one(tmp_path: Path, capsys: Captured) -> None:
    log = tmp_path / "build.log"
    log.write_text("all is well\n")
    assert run(["cause", str(log)]) == 1
    assert capsys.readouterr().out == "no rule matches\n"
    assert run(["cause", str(log), "--json"]) == 1
    assert capsys.readouterr().out == "null\n"


def test_rules_of_ones_own_are_tried_and_listed(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "ours.toml").write_text(RULE)
    log = tmp_path / "build.log"
    log.write_text("frobnicator: jammed\n")
    assert run(["cause", str(log), "--rules", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("frob: jammed; ")
    assert run(["cause", "--rules", str(tmp_path)]) == 0
    assert " 50  frob        ours\n" in capsys.readouterr().out
    assert run(["cause", "--rules", str(tmp_path), "--json"]) == 0
    assert "ours" in {rule["name"] for rule in json.loads(capsys.readouterr().out)["rules"]}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["cause", "/nowhere/build.log"], "/nowhere/build.log: no such file"),
        (["cause", "--rules", "/nowhere"], "'/nowhere' does not exist"),
    ],
)
def test_what_is_not_there(arguments: list[str], said: str, capsys: Captured) -> None:
    assert run(arguments) == 2
    assert said in capsys.readouterr().err


def test_rules_that_cannot_be_used(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "ours.toml").write_text(
        RULE.replace("jammed", "frobs").replace("frobnicator: (", "(")
    )
    (tmp_path / "more.toml").write_text(RULE.replace("frobnicator: (", "FROB ("))
    assert run(["cause", "--rules", str(tmp_path)]) == 2
    assert "more.toml: ours does not match its example 'frobnicator: jammed'" in (
        capsys.readouterr().err
    )


def test_a_build_on_this_machine_keeps_the_end_of_its_log() -> None:
    log = KeptLog(Silent())
    for text in ("x.c:1:2: error: long ago", *["noise"] * KEPT_LINES):
        log.line(Line(text=text, hook="work"))
    failure = HookFailed("hook work: command exited with 1")
    found = log.cause(Settings(), failure)
    assert found
    assert found.kind == "unknown"
    log.line(Line(text="\x1b[31my.c:1:2: error: just now\x1b[0m", hook="work"))
    found = log.cause(Settings(), failure)
    assert found
    assert (found.message, found.line) == ("just now", KEPT_LINES + 2)


def test_a_build_on_this_machine_with_rules_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "ours.toml").write_text("[[rule]")
    log = KeptLog(Silent())
    log.line(Line(text="y.c:1:2: error: bad", hook="work"))
    found = log.cause(Settings(cause_rules_dir=str(tmp_path)), HookFailed("exited with 1"))
    assert found
    assert found.rule == "gcc-error"
