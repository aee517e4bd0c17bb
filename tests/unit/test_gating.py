"""Publishing through a gate: what is held stays out, what is published stays in."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import pytest

from orchestrator.formats.reader import Count
from orchestrator.formats.releasefile import Keep, Selection
from orchestrator.gate.attestation import read_attestation
from orchestrator.gate.findings import Finding
from orchestrator.gate.waivers import waivers_file
from orchestrator.release.mirror import mirror_at
from orchestrator.release.taking import candidates_in
from orchestrator.release.targets.folder import FolderTarget
from orchestrator.release.verify import Seen, check_content, current_pointer, fetch_catalog
from tasks.artifacts import gate_tests
from tasks.artifacts.gate_tests import GateTest, Outcome
from tasks.errors import BadInput, Stale, Untrusted
from tasks.ledger.records import Record
from tasks.model import BuildState
from tasks.reporting import Line, Progress, Silent
from tasks.results import Artifact
from tests.gating import GatedShop, stage, tarball
from tests.publishing import Writes
from tests.releases import DAY_S
from tests.trusted import key

GOOD, MORE, BAD = stage(), stage(more=0o755), stage(more=0o4755)
KEYS = [key("release").public]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GatedShop:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return GatedShop(tmp_path)


def read(shop: GatedShop) -> list[str]:
    """The builds that a client gets, which has verified all of it."""
    with mirror_at(shop.target.url) as mirror:
        pointer = current_pointer(mirror, "stable", KEYS, now=shop.now, seen=Seen())
        catalog = fetch_catalog(mirror, pointer)
        check_content(mirror, list(catalog.files), Silent())
    return [stage.build for stage in catalog.stages]


def only_finding(shop: GatedShop) -> Finding:
    (hold,) = shop.held
    (finding,) = hold.holding
    return finding


# What is held


def test_what_is_held_stays_out_and_what_is_published_stays_in(shop: GatedShop) -> None:
    shop.keep = Keep(newest=Count(1))
    shop.night("a-1", GOOD)
    assert read(shop) == ["a-1"]
    for night in range(2, 6):
        outcome = shop.night(f"a-{night}", BAD)
        assert [hold.build for hold in outcome.taken.held] == [f"a-{night}"]
        assert read(shop) == ["a-1"]
        shop.now += 5 * DAY_S  # generations expire, files are due to be removed
    assert shop.publish().catalog.version > 1, "it is published anew, for its readers"
    assert read(shop) == ["a-1"]
    (first, *_) = shop.held
    assert (first.build, first.against, len(shop.held)) == ("a-2", "a-1", 4)
    assert [finding.check for finding in first.holding] == ["setuid"]
    assert first.holding[0].path == "/usr/bin/more"


def test_others_of_the_same_night_are_published(shop: GatedShop) -> None:
    for flavour in ("minimal", "full"):
        shop.put(f"{flavour}-1", flavour, content=GOOD)
    shop.publish("minimal-1", "full-1")
    shop.put("minimal-2", content=BAD)
    shop.put("full-2", "full", content=MORE)
    outcome = shop.publish("minimal-2", "full-2")
    assert sorted(read(shop)) == ["full-1", "full-2", "minimal-1"]
    assert [hold.build for hold in outcome.taken.held] == ["minimal-2"]


def test_a_newer_build_that_passes_ends_the_hold(shop: GatedShop) -> None:
    shop.night("a-1", GOOD)
    shop.night("a-2", BAD)
    outcome = shop.night("a-3", MORE)
    assert [hold.build for hold in outcome.ended] == ["a-2"]
    assert shop.held == ()
    assert shop.gate.holds.noted().superseded == ("a-2",)
    assert read(shop) == ["a-3", "a-1"]


def test_of_several_new_builds_each_is_compared_with_the_one_before(shop: GatedShop) -> None:
    shop.night("a-1", GOOD)
    for number, content in ((2, MORE), (3, BAD), (4, stage(more=0o755, other=0o755))):
        shop.put(f"a-{number}", content=content, at=shop.now + number)
    outcome = shop.publish("a-4", "a-3", "a-2")
    assert read(shop) == ["a-4", "a-2"], "two are kept"
    ((build, error),) = outcome.taken.refused
    assert (build, str(error)) == ("a-3", "the gate has 1 finding, and the newer a-4 is published")
    assert (shop.held, outcome.taken.held) == ((), ())


def test_an_older_build_that_would_be_held_is_no_hold(shop: GatedShop) -> None:
    shop.night("a-1", GOOD)
    shop.put("a-2", content=BAD)
    shop.now += DAY_S
    shop.night("a-3", GOOD)
    outcome = shop.publish("a-2")
    ((build, error),) = outcome.taken.refused
    assert build == "a-2"
    assert str(error) == "the gate has 1 finding, and the newer a-3 is published"
    assert (shop.held, outcome.taken.held) == ((), ())
    assert shop.gate.holds.noted().superseded == ("a-2",)


def test_the_first_stage_is_judged_alone(shop: GatedShop) -> None:
    outcome = shop.night("a-1", tarball({"etc/open": (0o666, b"x")}))
    assert [hold.against for hold in outcome.taken.held] == [""]
    assert read(shop) == []


def test_a_failed_test_of_the_host_holds_the_stage(shop: GatedShop) -> None:
    tests = (GateTest(name="shell", outcome=Outcome.FAILED, message="no shell"),)
    shop.night("a-1", GOOD, sidecars={"tests.json": gate_tests.content(tests)})
    assert (only_finding(shop).check, only_finding(shop).path) == ("tests", "shell")


def test_a_trial_notes_nothing(shop: GatedShop) -> None:
    shop.night("a-1", GOOD)
    shop.put("a-2", content=BAD)
    outcome = shop.publish("a-2", dry_run=True)
    assert [hold.build for hold in outcome.taken.held] == ["a-2"]
    assert shop.held == ()


def test_a_rollback_is_not_judged(shop: GatedShop) -> None:
    shop.night("a-1", GOOD)
    shop.night("a-2", BAD)
    shop.accept(only_finding(shop))
    shop.publish("a-2")
    waivers_file(shop.file).unlink()
    for version, builds in ((1, ["a-1"]), (2, ["a-2", "a-1"])):
        assert shop.publisher().roll_back(version).catalog.reason == f"rolled back to {version}"
        assert read(shop) == builds


def test_held_builds_take_no_place_of_others_and_are_looked_at_again(shop: GatedShop) -> None:
    shop.stages, shop.keep = (Selection(),), Keep(newest=Count(1))
    records = [
        Record(
            id=f"a-{number}", job="stage3", queue="x86-64bit.generic_64", attempt=1, titles=(),
            state=BuildState.SUCCEEDED, ended=shop.now + number,
            artifacts=(Artifact(name="s", path=f"file:///a-{number}/s", size_bytes=1, sha256=""),),
        )
        for number in range(1, 5)
    ]  # fmt: skip

    def wanted(*held: str, known: str = "") -> list[str]:
        found = candidates_in(
            records, shop.release(), shop.settings, lambda build, _: build == known, held
        )
        return [candidate.build for candidate in found]

    assert wanted() == ["a-4"]
    assert wanted("a-4") == ["a-3", "a-4"], "the newest that is not held is not passed over"
    assert wanted("a-4", "a-3", known="a-2") == ["a-3", "a-4"]


# Stages that cannot be judged


@pytest.mark.parametrize(
    "content", [b"not a tarball", GOOD[:-20], tarball({"x": (0o644, b"x")})[:50]]
)
def test_a_stage_that_cannot_be_read_is_refused_and_spares_the_others(
    shop: GatedShop, content: bytes
) -> None:
    shop.put("bad-1", "full", content=content)
    shop.put("a-1", content=GOOD)
    outcome = shop.publish("bad-1", "a-1")
    ((build, error),) = outcome.taken.refused
    assert (build, type(error)) == ("bad-1", BadInput)
    assert read(shop) == ["a-1"]
    assert shop.held == ()


def test_a_stage_that_is_not_what_its_host_signed_is_refused(shop: GatedShop) -> None:
    shop.put("a-1", content=GOOD)
    (stored,) = shop.store.rglob("*.tar.zst")
    stored.write_bytes(MORE)
    outcome = shop.publish("a-1")
    ((_, error),) = outcome.taken.refused
    assert isinstance(error, Untrusted)
    assert read(shop) == []


# Judging again


def test_what_was_judged_is_not_read_again(shop: GatedShop) -> None:
    shop.night("a-1", GOOD)
    shop.night("a-2", BAD)
    shutil.rmtree(shop.gate.keeper.inventories.root)
    (stored,) = shop.store.glob("a-2/**/*.tar.zst")
    stored.write_bytes(b"\0" * stored.stat().st_size)
    again = shop.publish("a-2")
    assert [hold.build for hold in again.taken.held] == ["a-2"]
    assert len(again.taken.held[0].holding) == 1


def test_another_policy_is_judged_anew(shop: GatedShop) -> None:
    shop.night("a-1", GOOD)
    shop.night("a-2", BAD)
    policy = shop.folder / "gate.yaml"
    policy.write_text(shop.policy.replace("}", ", setuid: warn}"))
    shop.publish("a-2")
    assert read(shop) == ["a-2", "a-1"]
    assert shop.held == ()


# Waivers


def test_a_waiver_releases_what_it_names(shop: GatedShop) -> None:
    shop.night("a-1", GOOD)
    shop.night("a-2", stage(more=0o4755, other=0o4755))
    more, other = shop.held[0].holding
    shop.accept(more)
    outcome = shop.publish("a-2")
    (hold,) = outcome.taken.held
    assert (hold.holding, hold.waived) == ((other,), (more,))
    shop.accept(other)
    outcome = shop.publish("a-2")
    assert [hold.build for hold in outcome.ended] == ["a-2"]
    assert read(shop) == ["a-2", "a-1"]
    assert shop.held == ()


def test_a_waiver_lapses_with_its_date_and_with_its_finding(shop: GatedShop) -> None:
    shop.night("a-1", GOOD)
    shop.night("a-2", BAD)
    shop.accept(only_finding(shop))
    shop.night("a-3", stage(more=0o6755))
    assert [hold.build for hold in shop.held] == ["a-2", "a-3"], "another mode is another finding"
    shop.now += 2 * DAY_S
    shop.said.clear()
    shop.publish("a-2")
    assert read(shop) == ["a-1"]
    (said,) = shop.said
    assert said.startswith(
        "release.waivers.jsonl:1: the waiver of setuid /usr/bin/more does not count: it has lapsed"
    )


@pytest.mark.parametrize(
    ("by", "changes", "reason"),
    [
        ("eve", {}, "not signed with a key that this machine trusts"),
        ("bert", {}, "bert may not accept findings"),
        ("anna", {"release": "other"}, "it is for another release"),
        ("anna", {"until": date(2020, 1, 1)}, "it has lapsed"),
    ],
)
def test_a_waiver_that_does_not_count_is_named(
    shop: GatedShop, by: str, changes: dict[str, object], reason: str
) -> None:
    shop.night("a-1", GOOD)
    shop.night("a-2", BAD)
    shop.accept(only_finding(shop), by, **changes)
    shop.said.clear()
    shop.publish("a-2")
    assert read(shop) == ["a-1"]
    (said,) = shop.said
    assert said.startswith("release.waivers.jsonl:1: ")
    assert reason in said


def test_a_waiver_that_was_changed_does_not_count(shop: GatedShop) -> None:
    shop.night("a-1", GOOD)
    shop.night("a-2", BAD)
    finding = only_finding(shop)
    shop.accept(replace(finding, path="/usr/bin/other"))
    shop.accept(finding, "eve")
    file = waivers_file(shop.file)
    good, forged = map(json.loads, file.read_text().splitlines())
    file.write_text(json.dumps({**good, "payload": forged["payload"]}) + "\n")
    shop.publish("a-2")
    assert read(shop) == ["a-1"]
    assert "it was changed, or not signed" in shop.said[-1]


def test_the_release_key_may_sign_waivers(shop: GatedShop) -> None:
    shop.night("a-1", GOOD)
    shop.night("a-2", BAD)
    shop.accept(only_finding(shop), "release")
    shop.publish("a-2")
    assert read(shop) == ["a-2", "a-1"]


# The signed statement


def statement(shop: GatedShop, build: str) -> bytes:
    (found,) = [one for one in shop.publish().catalog.stages if one.build == build]
    (file,) = [one for one in found.sidecars if one.name.endswith(".gate.intoto.jsonl")]
    return (shop.mirror / file.path).read_bytes()


def test_what_passes_has_a_signed_statement_beside_it(shop: GatedShop) -> None:
    first = shop.night("a-1", GOOD).catalog.stages[0]
    shop.night("a-2", BAD)
    finding = only_finding(shop)
    shop.accept(finding)
    second = shop.publish("a-2").catalog.stages[0]
    found = read_attestation(statement(shop, "a-2"), KEYS, second.tarball.sha256)
    said = found.predicate
    assert said.result == "PASSED"
    assert "setuid" in said.passed_tests
    assert said.failed_tests == ()
    (named,) = said.findings
    assert (named.digest, named.waiver) == (finding.digest, "anna: it is wanted")
    assert said.against[0].digest["sha256"] == first.tarball.sha256
    assert said.configuration[0].name == "gate.yaml"
    with pytest.raises(Untrusted, match="another tarball"):
        read_attestation(statement(shop, "a-2"), KEYS, first.tarball.sha256)
    with pytest.raises(Untrusted, match="not signed with the key"):
        read_attestation(statement(shop, "a-2"), [key("eve").public], second.tarball.sha256)


def test_a_host_cannot_put_a_statement_of_its_own_there(shop: GatedShop) -> None:
    shop.night("a-1", GOOD, sidecars={"gate.intoto.jsonl": b"passed"})
    assert statement(shop, "a-1") != b"passed"


def test_publishing_a_published_build_again_changes_nothing(shop: GatedShop) -> None:
    shop.night("a-1", GOOD)
    assert not shop.publish("a-1").new
    (shop.folder / "gate.yaml").write_text(shop.policy.replace("}", ", setuid: warn}"))
    assert not shop.publish("a-1").new


def test_a_new_mirror_gets_the_statements_from_the_others(shop: GatedShop) -> None:
    """Also where a host has left a file of that name in the store."""
    shop.night("a-1", GOOD, sidecars={"gate.intoto.jsonl": b"passed"})
    other = shop.folder / "other"
    targets = [shop.target, FolderTarget(other, other.as_uri())]
    outcome = shop.publish(targets=targets)
    assert outcome.failed == {}
    assert len(list(other.rglob("*.gate.intoto.jsonl"))) == 1


# Crashes, and others at the same time


@dataclass
class Dying:
    """A report during which the process dies."""

    def line(self, line: Line) -> None: ...

    def progress(self, progress: Progress) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def killed(shop: GatedShop, build: str, *, at: int = 0) -> bool:
    """Whether a process that publishes `build` dies: while it judges, or before change `at` of its
    state."""
    if not (child := os.fork()):
        gate = shop.gate
        if at:
            sys.addaudithook(Writes(str(shop.gate.holds.file.parent.parent), at).hook)
        else:
            gate = replace(gate, keeper=replace(gate.keeper, report=Dying()))
        shop.publish(build, gate=gate)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def test_a_publisher_that_is_killed_while_it_judges_leaves_nothing_half(shop: GatedShop) -> None:
    shop.night("a-1", GOOD)
    shop.put("a-2", content=BAD)
    before = sorted(shop.mirror.rglob("*"))
    assert killed(shop, "a-2")
    assert sorted(shop.mirror.rglob("*")) == before
    assert shop.held == ()
    shop.publish("a-2")
    assert read(shop) == ["a-1"]
    assert [hold.build for hold in shop.held] == ["a-2"]


def test_a_publisher_that_is_killed_at_any_write_of_its_notes_can_go_on(shop: GatedShop) -> None:
    shop.night("a-1", GOOD)
    for at in range(1, 200):
        build = f"b-{at}"
        shop.put(build, content=stage(more=0o4755, **{f"t{at}": 0o755}))
        dead = killed(shop, build, at=at)
        shop.publish(build)
        assert build in [hold.build for hold in shop.held]
        assert read(shop) == ["a-1"]
        if not dead:
            break
    assert at > 3


def test_two_publishers_do_not_judge_at_once(shop: GatedShop) -> None:
    shop.put("a-1", content=GOOD)
    others: list[type[Exception]] = []

    @dataclass
    class Meanwhile:
        def line(self, line: Line) -> None: ...

        def progress(self, progress: Progress) -> None:
            if not others:
                others.append(Stale)
                with pytest.raises(Stale):
                    shop.publisher().publish(shop.take("a-1"))

    gate = shop.gate
    shop.publish("a-1", gate=replace(gate, keeper=replace(gate.keeper, report=Meanwhile())))
    assert others
    assert read(shop) == ["a-1"]


def test_a_host_cannot_name_a_file_that_breaks_the_catalog(shop: GatedShop) -> None:
    shop.put("bad-1", "full", content=GOOD, sidecars={"two\nlines": b"x"})
    shop.put("a-1", content=GOOD)
    outcome = shop.publish("bad-1", "a-1")
    ((build, error),) = outcome.taken.refused
    assert (build, "cannot be on a mirror" in str(error)) == ("bad-1", True)
    assert read(shop) == ["a-1"]


def test_names_that_are_no_text_hold_like_others(shop: GatedShop) -> None:
    shop.night("a-1", GOOD)
    shop.night("a-2", stage(**{"\udcff\n": 0o4755}))
    finding = only_finding(shop)
    assert finding.path == repr(b"/usr/bin/\xff\n")
    shop.accept(finding)
    shop.publish("a-2")
    assert read(shop) == ["a-2", "a-1"]
    assert read_attestation(statement(shop, "a-2"), KEYS, shop.sha256("a-2"))
