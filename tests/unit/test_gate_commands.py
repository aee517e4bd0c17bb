"""`stagefarm gate`: judging, looking at holds, accepting findings, and what `publish` says."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest

from orchestrator.cli import cli, run
from orchestrator.commands.gate_names import complete_finding, complete_held
from orchestrator.gate.waivers import waivers_file
from tasks.settings import current
from tests.gating import GatedShop, stage, write_key
from tests.releases import Served
from tests.trusted import key

GOOD, BAD = stage(), stage(more=0o4755)
DAY_S = 24 * 3600
STAGE = "stage3 minimal x86-64bit.generic_64"


@dataclass
class Machine:
    """A machine that publishes a shop's release, and anna, who uses it."""

    shop: GatedShop
    capsys: pytest.CaptureFixture[str]
    error: str = ""

    def run(self, *words: object, code: int = 0) -> str:
        """What a command prints."""
        self.capsys.readouterr()
        found = run([str(word) for word in words])
        said = self.capsys.readouterr()
        assert found == code, said.out + said.err
        self.error = said.err
        return said.out

    def told(self, *words: object, code: int = 0) -> Any:
        return json.loads(self.run(*words, "--json", code=code))

    def publish(self, build: str, content: bytes, code: int = 0) -> str:
        self.shop.now += 60
        self.shop.put(build, content=content)
        return self.run("publish", self.shop.file, build, "--store-only", code=code)

    @property
    def finding(self) -> str:
        (hold,) = self.shop.held
        return hold.holding[0].digest[:12]

    def accept(self, *more: str, until: float = 7 * DAY_S, **how: int) -> str:
        day = time.strftime("%Y-%m-%d", time.gmtime(time.time() + until))
        words = ("--until", day, "--because", "it is wanted", *more)
        return self.run("gate", "accept", self.shop.file, self.finding, *words, **how)


@pytest.fixture
def machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Machine]:
    shop = GatedShop(tmp_path, now=time.time() - 3600)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("state_dir", "store_url", "trust_file"):
        monkeypatch.setenv(f"STAGEFARM_{name.upper()}", getattr(shop.settings, name))
    write_key(tmp_path / "anna.key", "anna")
    monkeypatch.setenv("STAGEFARM_SUBMIT_KEY_FILE", str(tmp_path / "anna.key"))
    current.cache_clear()
    yield Machine(shop, capsys)
    current.cache_clear()


def test_a_held_stage_is_shown_accepted_and_published(machine: Machine) -> None:
    file = machine.shop.file
    machine.publish("a-1", GOOD)
    said = machine.publish("a-2", BAD, code=8)
    assert f"held by the gate: {STAGE}, a-2, 1 finding\n" in said
    assert f"  {machine.finding}  setuid /usr/bin/more: " in said
    assert f"look at it: stagefarm gate show {file} a-2\n" in said
    assert f"accept one: stagefarm gate accept {file} {machine.finding} --until" in said
    assert "stable is at generation 1: nothing is new" in said
    listed = machine.run("gate", "list", file)
    assert [word in listed for word in (STAGE, "a-2", "a-1")] == [True] * 3
    assert "held by the gate" in machine.run("release", "list", file)
    assert STAGE in machine.run("release", "show", file)
    for name in ("a-2", "a-", STAGE, "stage3 min*"):
        shown = machine.run("gate", "show", file, name)
        assert machine.finding in shown
        assert "/usr/bin/more" in shown
    finding = machine.finding
    said = machine.accept()
    assert said.startswith("accepted until 20")
    assert machine.error == f"it counts when the release is published: stagefarm publish {file}\n"
    assert "it is wanted" in machine.run("gate", "waivers", file)
    said = machine.run("publish", file, "a-2", "--store-only")
    assert "generation 2 of stable, 2 stages: published" in said
    assert machine.run("gate", "list", file) == "nothing is held\n"
    assert "withdrawn: setuid /usr/bin/more" in machine.run("gate", "withdraw", file, finding)
    assert machine.run("gate", "waivers", file) == "no finding was accepted\n"


def test_programs_are_told_all_of_it(machine: Machine) -> None:
    file = machine.shop.file
    machine.publish("a-1", GOOD)
    machine.shop.put("a-2", content=BAD)
    told = machine.told("publish", file, "a-2", "--store-only", code=8)
    (hold,) = told["held"]
    assert (hold["stage"], hold["build"], hold["published"]) == (STAGE, "a-2", "a-1")
    (finding,) = [one for one in hold["findings"] if one["verdict"] == "hold"]
    assert (finding["check"], finding["path"]) == ("setuid", "/usr/bin/more")
    assert machine.told("gate", "list", file) == machine.told("gate", "show", file, "a-2")
    machine.accept()
    (waiver,) = machine.told("gate", "waivers", file)
    assert (waiver["digest"], waiver["counts"]) == (finding["digest"], True)


def test_a_published_stage_says_beside_it_that_it_passed(machine: Machine) -> None:
    machine.publish("a-1", GOOD)
    machine.publish("a-2", BAD, code=8)
    machine.accept()
    machine.run("publish", machine.shop.file, "a-2", "--store-only")
    found = machine.told("release", "show", machine.shop.file)["stages"][0]
    tarball = machine.shop.mirror / "stages" / found["tarball"]["sha256"]
    (path,) = tarball.iterdir()
    said = machine.run("release", "verify", path, "--key", key("release").public)
    assert "the gate: passed, 1 finding accepted\n" in said
    assert ".gate.intoto.jsonl" in said


# Judging


def test_a_stage_is_judged_without_publishing_it(machine: Machine, tmp_path: Path) -> None:
    file = machine.shop.file
    machine.publish("a-1", GOOD)
    machine.shop.now += 60
    machine.shop.put("a-2", content=BAD)
    (built,) = machine.shop.store.glob("a-2/**/*.tar.zst")
    (published,) = machine.shop.store.glob("a-1/**/*.tar.zst")
    for words in (
        (built, "--release", file),
        (built, "--release", file, "--against", published.as_uri()),
        (built, "--policy", tmp_path / "gate.yaml", "--against", published),
    ):
        told = machine.told("gate", "check", *words, code=8)
        assert told["verdict"] == "hold"
        assert [one["path"] for one in told["findings"]] == ["/usr/bin/more"]
    assert machine.shop.held == (), "nothing is noted"
    page = tmp_path / "page.html"
    said = machine.run("gate", built, "--release", file, "--html", page, code=8)
    assert "got the setuid bit" in page.read_text()
    assert "/usr/bin/more" in page.read_text()
    assert said.endswith("hold: 1 finding, compared with a-1\n")
    with Served(published.parent) as served:
        against = f"{served.url}/{published.name}"
        machine.run("gate", built, "--policy", tmp_path / "gate.yaml", "--against", against, code=8)
    words = ("--policy", tmp_path / "gate.yaml", "--html", page)
    said = machine.run("gate", published, *words)
    assert said == "pass: 0 findings, compared with nothing\n"


def test_a_waiver_counts_where_a_stage_is_only_judged(machine: Machine) -> None:
    machine.publish("a-1", GOOD)
    machine.publish("a-2", BAD, code=8)
    machine.accept()
    (built,) = machine.shop.store.glob("a-2/**/*.tar.zst")
    assert "accepted" in machine.run("gate", built, "--release", machine.shop.file)


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (["gate", "x.tar"], 2, "give --release FILE or --policy FILE"),
        (["gate", "--policy", "gate.yaml", "x.tar"], 2, "there is no such tarball"),
        (["gate", "x.tar", "--policy", "gate.yaml"], 2, "there is no such tarball"),
        (["gate", "gate.yaml", "--policy", "gate.yaml"], 2, "not a tarball"),
        (["gate", "x.tar", "--policy", "none.yaml"], 2, "no such gate file"),
        (["gate", "show", "release.yaml", "x"], 2, "nothing is held that is called 'x'"),
        (["gate", "withdraw", "release.yaml"], 2, "give the digest of a finding, or --lapsed"),
        (["gate", "withdraw", "release.yaml", "ab"], 2, "no waiver of a finding 'ab'"),
        (
            ["gate", "accept", "release.yaml", "ab", "--until", "2030-01-01", "--because", "x"],
            2,
            "no stage is held for a finding 'ab'",
        ),
    ],
)
def test_mistakes_are_one_clear_error(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, words: list[str], code: int, error: str
) -> None:
    monkeypatch.chdir(machine.shop.folder)
    machine.run(*words, code=code)
    assert error in machine.error
    assert machine.error.startswith("error: ")


def test_a_release_without_a_gate_is_told_so(machine: Machine) -> None:
    file = machine.shop.file
    file.write_text(file.read_text().replace("gate: gate.yaml\n", ""))
    machine.publish("a-1", BAD)
    (built,) = machine.shop.store.glob("**/*.tar.zst")
    machine.run("gate", built, "--release", file, code=2)
    assert "has no gate" in machine.error


# Waivers


def test_a_waiver_that_does_not_count_here_is_told(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.publish("a-1", GOOD)
    machine.publish("a-2", BAD, code=8)
    write_key(machine.shop.folder / "eve.key", "eve")
    monkeypatch.setenv("STAGEFARM_SUBMIT_KEY_FILE", str(machine.shop.folder / "eve.key"))
    current.cache_clear()
    machine.accept()
    assert "the waiver does not count: it was changed, or not signed" in machine.error
    (waiver,) = machine.told("gate", "waivers", machine.shop.file)
    assert waiver["counts"] is False
    assert "does not count" in machine.run("gate", "waivers", machine.shop.file)
    machine.run("publish", machine.shop.file, "a-2", "--store-only", code=8)
    assert "release.waivers.jsonl:1: the waiver does not count" in machine.error
    machine.accept("--release-key")
    assert "does not count" not in machine.error
    machine.run("publish", machine.shop.file, "a-2", "--store-only")


def test_lapsed_waivers_are_withdrawn_together(machine: Machine) -> None:
    machine.publish("a-1", GOOD)
    machine.publish("a-2", BAD, code=8)
    machine.accept(until=-2 * DAY_S)
    machine.accept()
    machine.run("gate", "withdraw", machine.shop.file, "--lapsed")
    assert len(waivers_file(machine.shop.file).read_text().splitlines()) == 1
    machine.run("publish", machine.shop.file, "a-2", "--store-only")


def test_findings_of_another_machine_can_be_accepted(machine: Machine) -> None:
    machine.publish("a-1", GOOD)
    machine.publish("a-2", BAD, code=8)
    finding = machine.finding
    told = machine.shop.folder / "findings.json"
    told.write_text(json.dumps(machine.told("gate", "show", machine.shop.file, "a-2")))
    machine.shop.gate.holds.file.unlink()
    words = ("--until", "2036-01-01", "--because", "x", "--findings", told)
    said = machine.run("gate", "accept", machine.shop.file, finding, *words)
    assert said.startswith("accepted until 2036-01-01: setuid /usr/bin/more")
    told.write_text("[1]")
    machine.run("gate", "accept", machine.shop.file, finding, *words, code=2)
    assert "cannot read the findings" in machine.error


def test_builds_and_findings_are_completed(machine: Machine) -> None:
    machine.publish("a-1", GOOD)
    machine.publish("a-2", BAD, code=8)
    with click.Context(cli) as context:
        argument = click.Argument(["name"])
        assert complete_held(context, argument, "") == [], "no release file is given yet"
        context.params["file"] = machine.shop.file
        assert [one.value for one in complete_held(context, argument, "a")] == ["a-2"]
        found = complete_finding(context, argument, machine.finding[:3])
        assert [one.value for one in found] == [machine.finding]
        assert complete_finding(context, argument, "x") == []
        context.params["file"] = machine.shop.folder / "none.yaml"
        assert complete_held(context, argument, "") == []


def test_nothing_of_a_hostile_stage_reaches_the_terminal(machine: Machine) -> None:
    machine.publish("a-1", GOOD)
    hostile = stage(**{"\x1b[2J\x1b]0;evil\x07\nerror: [bold]x": 0o4755})
    said = machine.publish("a-2", hostile, code=8)
    said += machine.run("gate", "show", machine.shop.file, "a-2")
    said += machine.accept() + machine.run("gate", "waivers", machine.shop.file)
    assert "\x1b" not in said
    assert "\nerror" not in said
    assert said.count("[bold]x") == 4
