"""Waivers: which count, and why the others do not."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from orchestrator.gate.findings import Finding, StageKey
from orchestrator.gate.waivers import (
    Accepters,
    Waiver,
    Waivers,
    add_waiver,
    lines_of,
    read_waivers,
    waivers_file,
    withdraw_waivers,
)
from tasks.errors import BadInput
from tasks.model import encode
from tasks.settings import Settings
from tasks.trust.envelope import PayloadType, signed, to_text
from tasks.trust.keys import read_or_make
from tasks.trust.policy import NOT_REQUIRED, SUBMIT_KEY, Trust, trust_of
from tests.trusted import host, key, submitter, trusting

NOW = datetime(2026, 12, 1, 23, 59, tzinfo=UTC).timestamp()
FINDING = Finding(check="setuid", path="/usr/bin/foo", before="755", after="4755")
MINIMAL = StageKey(product="stage3", variant="minimal-next", arch="x86-64bit", subarch="haswell")
WAIVER = Waiver(
    release="stages", channel="stable", check="setuid", path="/usr/bin/foo",
    before="755", after="4755", until=date(2026, 12, 1), because="needed", by="anna@desk",
    at=NOW - 60,
)  # fmt: skip
TRUST = trusting(submitter("anna", accept_findings=True), submitter("bert"), host())


def read(file: Path, *, trust: Trust = TRUST, now: float = NOW, channel: str = "stable") -> Waivers:
    own = (key("release").public,)
    accepters = Accepters(release="stages", channel=channel, trust=trust, own=own)
    return read_waivers(file, accepters, now)


def reasons(file: Path, **how: object) -> list[tuple[int, str]]:
    found = read(file, **how)  # type: ignore[arg-type]
    assert not found.valid
    return [(one.line, one.reason) for one in found.void]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return waivers_file(tmp_path / "stages.yaml")


@pytest.mark.parametrize("by", ["anna", "release"])
def test_a_waiver_accepts_its_finding_and_no_other(file: Path, by: str) -> None:
    assert file.name == "stages.waivers.jsonl"
    assert not read(file).valid
    add_waiver(file, replace(WAIVER, stage="stage3 minimal-*"), key(by))
    found = read(file)
    assert (len(found.valid), found.void) == (1, ())
    assert found.of(MINIMAL, FINDING) == found.valid[0]
    assert not found.of(MINIMAL, replace(FINDING, after="6755")), "it lapses when it changes"
    assert not found.of(MINIMAL, replace(FINDING, path="/usr/bin/bar"))
    assert not found.of(replace(MINIMAL, variant="systemd"), FINDING)
    assert not found.of(replace(MINIMAL, product="stage3x"), FINDING)


def test_it_counts_until_the_end_of_its_last_day(file: Path) -> None:
    add_waiver(file, WAIVER, key("anna"))
    assert read(file).valid
    assert reasons(file, now=NOW + 120) == [(1, "it has lapsed: it was valid until 2026-12-01")]


def test_keys_without_the_right_do_not_count(file: Path) -> None:
    for by in ("bert", "one", "stranger"):  # no right; a host; nobody
        add_waiver(file, WAIVER, key(by))
    foreign = "it was changed, or not signed with a key that this machine trusts"
    assert reasons(file) == [
        (1, "bert may not accept findings: see accept_findings in trust.toml"),
        (2, foreign),
        (3, foreign),
    ]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"revoked": True}, "the key of anna was revoked"),
        ({"until": date(2026, 11, 30)}, "the key of anna was valid until 2026-11-30"),
    ],
)
def test_keys_that_have_ended_do_not_count(
    file: Path, changes: dict[str, object], reason: str
) -> None:
    add_waiver(file, WAIVER, key("anna"))
    trust = trusting(submitter("anna", accept_findings=True, **changes))
    assert reasons(file, trust=trust) == [(1, reason)]


def test_changed_and_malformed_lines_do_not_count_and_spare_the_others(file: Path) -> None:
    add_waiver(file, WAIVER, key("anna"))
    good = json.loads(file.read_text())
    add_waiver(file, replace(WAIVER, until=date(2030, 1, 1)), key("stranger"))
    other = json.loads(file.read_text().splitlines()[1])
    forged = {**other, "signatures": good["signatures"]}
    as_build = to_text(signed(encode(WAIVER), PayloadType.BUILD, key("anna")))
    more = to_text(signed(encode(WAIVER)[:-1] + b',"also":"*"}', PayloadType.WAIVER, key("anna")))
    lines = [json.dumps(good), json.dumps(forged), as_build, more, "{", '"x"', "\0\ufffd", ""]
    file.write_text("\n".join(lines))
    found = read(file)
    assert len(found.valid) == 1
    said = {one.line: one.reason for one in found.void}
    assert list(said) == [2, 3, 4, 5, 6, 7]
    assert said[2] == "it was changed, or not signed with a key that this machine trusts"
    assert said[3] == "it is not a waiver"
    assert "unknown field also" in said[4]
    assert all("malformed" in said[number] for number in (5, 6, 7))


def test_a_waiver_of_another_release_or_channel_does_not_count(file: Path) -> None:
    add_waiver(file, WAIVER, key("anna"))
    assert reasons(file, channel="testing") == [(1, "it is for another release, stages stable")]


def test_a_waiver_from_the_future_does_not_count(file: Path) -> None:
    add_waiver(file, replace(WAIVER, at=NOW + 3600), key("anna"))
    assert reasons(file) == [(1, "it was signed in the future: is a clock wrong?")]


def test_nothing_is_verified_where_redis_is_trusted(file: Path) -> None:
    add_waiver(file, WAIVER, key("stranger"))
    assert read(file, trust=NOT_REQUIRED).valid


def test_a_machine_without_a_trust_file_takes_those_of_its_own_submitter(
    file: Path, tmp_path: Path
) -> None:
    settings = Settings(state_dir=str(tmp_path), trust_file=str(tmp_path / "none.toml"))
    own = read_or_make(settings.keys / SUBMIT_KEY)
    add_waiver(file, WAIVER, own)
    add_waiver(file, WAIVER, key("anna"))
    found = read(file, trust=trust_of(settings))
    assert ([one.line for one in found.void], len(found.valid)) == ([2], 1)


def test_waivers_are_withdrawn_by_the_digest_of_their_finding(file: Path) -> None:
    others = [replace(WAIVER, path=f"/usr/bin/{number}") for number in range(40)]
    for waiver in (WAIVER, *others, replace(WAIVER, because="again")):
        add_waiver(file, waiver, key("anna"))
    found = lines_of(file, FINDING.digest[:12])
    assert list(found) == [1, 42]
    assert len(lines_of(file, "")) == 42
    digits = [one.digest[0] for one in others]
    alike = next(digit for digit in digits if digits.count(digit) > 1)
    with pytest.raises(BadInput, match="ambiguous"):
        lines_of(file, alike)
    withdraw_waivers(file, found)
    assert not read(file).of(MINIMAL, FINDING)
    assert len(read(file).valid) == 40
