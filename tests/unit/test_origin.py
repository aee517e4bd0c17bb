"""The chain of a stage's ancestors: what it shows, and that no change of it stays unnoticed."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from datetime import date
from typing import Any

import msgspec
import pytest

from orchestrator.gate.attestation import attested, sign_attestation
from orchestrator.gate.findings import Judgement, StageKey
from orchestrator.gate.policy import Policy
from orchestrator.origin.attestation import End, Why, sign_lineage
from orchestrator.origin.chain import Lineage, carried_chain, chain_of
from orchestrator.origin.evidence import (
    FILE_MAX_BYTES,
    GENERATIONS_MAX,
    LINE_MAX_BYTES,
    Evidence,
    compact,
    read_lineage,
    write_lineage,
)
from orchestrator.origin.examine import Outcome, examine
from orchestrator.origin.ring import Ring, Standing
from tasks.errors import StagefarmError, Untrusted
from tasks.trust.envelope import PayloadType, signed, to_text
from tests.origins import (
    RING,
    ROOT,
    Family,
    a_gate,
    a_job,
    a_result,
    digest,
    raw,
    with_line,
)
from tests.trusted import host, key, submitter, trusting

ONLY_RELEASE = Ring(trusting(), (key("release").public,))
NOBODY = Ring()


def shown(family: Family, content: bytes | None = None, ring: Ring = RING) -> Lineage:
    """The lineage of a family's youngest by a lineage file, its own or another."""
    try:
        carried = read_lineage(family.file if content is None else content)
    except StagefarmError as error:
        return carried_chain(family.chain[0], error, ring)
    return carried_chain(family.chain[0], carried, ring)


# What is shown


def test_a_chain_is_shown_to_its_root() -> None:
    found = shown(Family(rebuilt=(1, 3)))
    assert found.broken is None
    assert found.is_shown
    assert [one.build for one in found.generations] == [f"stage-{n}" for n in range(4)]
    assert [one.reproduced for one in found.generations] == [False, True, False, True]
    assert found.reproduced == 2
    assert found.end == End(why=Why.ROOT, seed=ROOT)
    assert found.origin.verified == ("openpgp ABCD",)
    assert found.by
    assert found.by.standing is Standing.KNOWN
    (one, two) = found.generations[1].rebuilds[0].host, found.generations[1].host
    assert (one.name, two.name) == ("two", "one")
    assert found.generations[2].submitter.name == "anna"  # type: ignore[union-attr]
    assert [said.result for said in found.generations[0].gate] == ["PASSED"]


def test_who_knows_only_the_release_learns_from_it_whose_keys_they_are() -> None:
    found = shown(Family(rebuilt=(1,)), ring=ONLY_RELEASE)
    assert found.is_shown
    assert found.reproduced == 1
    first = found.generations[1]
    assert first.host.standing is Standing.VOUCHED
    assert (first.host.name, first.submitter.name) == ("one", "anna")  # type: ignore[union-attr]
    assert first.host.key == str(key("one").public)
    assert (first.rebuilds[0].host.name, first.rebuilds[0].host.standing) == ("two", "vouched")


def test_who_knows_no_key_is_shown_the_chain_and_nothing_counts() -> None:
    found = shown(Family(rebuilt=(1,)), ring=NOBODY)
    assert found.broken is None
    assert len(found.generations) == 4
    assert not found.is_shown
    assert found.reproduced == 0
    assert found.generations[0].host.key == str(key("one").public)
    assert found.generations[0].host.standing is Standing.UNKNOWN


def test_keys_can_be_given_for_the_occasion() -> None:
    given = tuple(key(name).public for name in ("one", "two"))
    found = shown(Family(rebuilt=(0, 1)), ring=Ring(given=given))
    assert found.reproduced == 2
    assert not found.is_shown, "nobody known says where it ends"
    assert shown(Family(), ring=Ring(given=(*given, key("release").public))).is_shown


def test_without_a_lineage_file_what_comes_before_is_missing() -> None:
    found = carried_chain(Family().chain[0], None, RING)
    assert len(found.generations) == 1
    assert found.end.why is Why.MISSING
    assert not found.is_shown


def test_a_stage_of_packages_has_no_ancestors() -> None:
    job = a_job("b")
    evidence = Evidence(
        name="s.tar", sha256="a" * 64, result=raw(a_result(job, "a" * 64, seed=""))[0]
    )
    assert chain_of([evidence], End(why=Why.PACKAGES), RING).is_shown
    assert not chain_of([evidence], End(why=Why.ROOT, seed=ROOT), RING).is_shown


def test_what_the_gate_signs_is_what_a_lineage_reads() -> None:
    first = Family(1).chain[0]
    stage = StageKey(product="stage3", arch="amd64", subarch="", variant="")
    judgement = Judgement(stage=stage, build="stage-0", sha256=first.sha256, against="")
    said = attested(judgement, "s.tar", policy=Policy())
    signed_by_release = sign_attestation(said, key("release")).decode()
    found = examine(msgspec.structs.replace(first, gate=raw(signed_by_release)), RING)
    assert [(one.result, one.by.name) for one in found.gate] == [("PASSED", "the release")]


# Rebuilds


def rebuilds(*results: str, family: Family | None = None) -> list[Outcome]:
    first = (family or Family(1)).chain[0]
    found = examine(msgspec.structs.replace(first, rebuilds=raw(*results)), RING)
    return [one.outcome for one in found.rebuilds]


def test_only_another_host_that_made_the_same_of_the_same_counts() -> None:
    sha256 = Family(1).chain[0].sha256
    again = a_job("again", rebuild_of="stage-0")
    assert rebuilds(
        a_result(again, sha256, by="two"),
        a_result(again, sha256, by="one"),
        a_result(again, "f" * 64, by="two"),
        a_result(again, sha256, by="two", seed="d" * 64),
        a_result(a_job("other", environment={"A": "1"}), sha256, by="two"),
        a_result(a_job("theirs", by="mallory"), sha256, by="mallory"),
    ) == [
        Outcome.SAME,
        Outcome.SAME_HOST,
        Outcome.DIFFERS,
        Outcome.UNRELATED,
        Outcome.UNRELATED,
        Outcome.SAME,
    ]


def test_a_rebuild_by_a_host_that_nobody_knows_does_not_count() -> None:
    first = Family(1).chain[0]
    theirs = a_result(a_job("theirs"), first.sha256, by="mallory")
    found = examine(msgspec.structs.replace(first, rebuilds=raw(theirs)), RING)
    assert found.rebuilds[0].host.standing is Standing.UNKNOWN
    assert not found.reproduced


def test_two_keys_on_one_machine_are_told() -> None:
    job = a_job("stage-0")
    first = msgspec.structs.replace(
        Family(1).chain[0],
        result=raw(a_result(job, digest(b"stage 0"), machine="m"))[0],
        rebuilds=raw(
            a_result(a_job("again"), digest(b"stage 0"), by="two", machine="m"),
            a_result(a_job("again"), digest(b"stage 0"), by="two", machine="n"),
        ),
    )
    assert [one.same_machine for one in examine(first, RING).rebuilds] == [True, False]


def test_a_changed_rebuild_is_noticed() -> None:
    first = Family(1, rebuilt=(0,)).chain[0]
    changed = changed_payload(first.rebuilds[0].text, b"again", b"agoin")
    with pytest.raises(Untrusted, match="a rebuild's result was changed: the signature of two"):
        examine(msgspec.structs.replace(first, rebuilds=raw(changed)), RING)


# What was changed


def changed_payload(text: str, old: bytes, new: bytes) -> str:
    """The envelope with something else in what was signed."""
    value = json.loads(text)
    payload = base64.b64decode(value["payload"])
    assert old in payload
    value["payload"] = base64.b64encode(payload.replace(old, new)).decode()
    return json.dumps(value)


def in_payload(part: str, old: bytes, new: bytes) -> Callable[[dict[str, Any]], object]:
    def change(line: dict[str, Any]) -> None:
        old_text = json.dumps(line[part][0] if part == "gate" else line[part])
        new_value = json.loads(changed_payload(old_text, old, new))
        line[part] = [new_value] if part == "gate" else new_value

    return change


OTHER = Family(name="other")


def part_of_other(part: str, number: int = 2) -> Callable[[dict[str, Any]], object]:
    """The same part of another chain's stage: well signed, and about something else."""
    theirs = json.loads(msgspec.json.encode(OTHER.chain[number]))
    return lambda line: line.update({part: theirs[part]})


def set_digest(line: dict[str, Any]) -> None:
    line["sha256"] = "c" * 64


def resigned(line: dict[str, Any]) -> None:
    """A result that somebody else has signed: as good as any, but by whom?"""
    payload = base64.b64decode(line["result"]["payload"])
    mine, theirs = (str(key(name).public).encode() for name in ("one", "mallory"))
    again = signed(payload.replace(mine, theirs), PayloadType.STATEMENT, key("mallory"))
    line["result"] = json.loads(to_text(again))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (in_payload("job", b"stage-2", b"stage-9"), "the job is not the one that the result is of"),
        (in_payload("result", b"machine of one", b"machine of six"), "changed: the signature of o"),
        (in_payload("gate", b"PASSED", b"FAILED"), "gate's statement was changed: the signature"),
        (part_of_other("job"), "the job is not the one that the result is of"),
        (part_of_other("result"), "the result is that of another tarball"),
        (part_of_other("gate"), "the gate's statement is about another tarball"),
        (
            set_digest,
            "stage was built from|s.tar was built from .* is missing; here is that of ccc",
        ),
        (lambda line: line["result"].update(signatures=[]), "the result is not signed"),
        (
            lambda line: line["result"].update(payloadType="application/x"),
            "the result is something else: 'application/x'",
        ),
    ],
)
def test_each_change_is_found_and_named(
    change: Callable[[dict[str, Any]], object], message: str
) -> None:
    family = Family()
    found = shown(family, with_line(family.file, 2, change))
    assert found.broken
    assert found.broken.number == 2
    assert re.search(message, found.broken.reason), found.broken.reason
    assert len(found.generations) == 2
    assert not found.is_shown


def test_what_others_have_signed_in_its_place_counts_for_nothing() -> None:
    """Anybody can sign a result. It does not break the chain, but nobody answers for it: neither
    the trust file, nor the release, which vouches for what it has seen, not for what is there."""
    family = Family(rebuilt=(2,))
    content = with_line(family.file, 2, resigned)
    for ring in (RING, ONLY_RELEASE):
        found = shown(family, content, ring)
        assert found.generations[2].host.standing is Standing.UNKNOWN
        assert found.generations[2].host.name == ""
        assert found.reproduced == 0


def lines_of(content: bytes) -> list[bytes]:
    return content.splitlines(keepends=True)


@pytest.mark.parametrize(
    ("order", "number", "message"),
    [
        ((0, 1, 3), 2, "whose evidence is missing; here is that of"),
        ((0, 1, 2), 3, "is missing: the chain is said to end at eee"),
        ((0, 2, 1, 3), 1, "stands further below: the order was changed"),
        ((0, 1, 1, 2, 3), 2, "it is one of those before: the chain goes in a circle"),
        ((0, 1, 2, 3, 3), 4, "it is one of those before|was built from"),
        ((1, 2, 3), 1, "cannot read the publisher's statement|malformed"),
        ((0,), 1, "is missing"),
    ],
)
def test_missing_moved_and_repeated_lines_are_found(
    order: tuple[int, ...], number: int, message: str
) -> None:
    family = Family()
    lines = lines_of(family.file)
    found = shown(family, b"".join(lines[one] for one in order))
    assert found.broken
    assert (found.broken.number, bool(re.search(message, found.broken.reason))) == (number, True)


def test_the_lineage_of_another_stage_is_refused() -> None:
    found = shown(Family(), OTHER.file)
    assert found.broken
    assert "the lineage is not that of this one" in found.broken.reason
    lines = lines_of(Family().file)[:1] + lines_of(OTHER.file)[1:]
    found = shown(Family(), b"".join(lines))
    assert found.broken
    assert found.broken.number == 1


def test_who_cuts_a_chain_cannot_sign_for_its_end() -> None:
    family, short = Family(4), Family(4)
    del short.chain[2:]
    links = [(one, examine(one, RING)) for one in short.chain]
    forged = sign_lineage(links, End(why=Why.ROOT, seed=family.chain[2].sha256), key("mallory"))
    found = shown(family, write_lineage(forged, short.chain[1:]))
    assert found.broken is None
    assert found.by
    assert found.by.standing is Standing.UNKNOWN
    assert not found.is_shown


def test_a_changed_statement_of_the_publisher_is_refused() -> None:
    family = Family()
    changed = changed_payload(family.statement().text, b'"why":"root"', b'"why":"lost"').encode()
    found = shown(family, changed + b"\n" + b"".join(lines_of(family.file)[1:]))
    assert found.broken
    assert "publisher's statement was changed: the signature of the release" in found.broken.reason


@pytest.mark.parametrize(
    ("trust", "message"),
    [
        (trusting(host("one", revoked=True)), "signed with a revoked key of one"),
        (trusting(host("one", until=date(2020, 1, 1))), "the key of one was valid until 2020"),
        (trusting(host("one", queues=("arm.*",))), "one is not trusted for x86-64bit"),
        (trusting(host("one"), submitter(revoked=True)), "the job is signed with a revoked key"),
    ],
)
def test_keys_that_are_not_valid_break_the_chain(trust: Any, message: str) -> None:
    found = shown(Family(), ring=Ring(trust, (key("release").public,)))
    assert found.broken
    assert found.broken.number == 0
    assert message in found.broken.reason


# Hostile files


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"\xff\xfe\n",
        b"null\n",
        b"[]\n[]\n",
        b"{}\n" + b"[" * 100_000 + b"\n",
        b'{"payload": 5}\n{"name": "x"}\n',
        b'{}\n{"name": "x", "sha256": "../../etc", "result": {}}\n',
        b'{}\n{"name": "x", "sha256": "' + b"a" * 64 + b'", "result": {}, "more": 1}\n',
        with_line(Family(2).file, 1, lambda line: line.update(name="x" * 300)),
        with_line(Family(2).file, 1, lambda line: line.update(name="\x1b[2J")),
        b"{}\n" * (GENERATIONS_MAX + 3),
        b"{}\n" + b" " * (LINE_MAX_BYTES + 1) + b"\n",
        b" " * (FILE_MAX_BYTES + 1),
    ],
    ids=lambda content: f"{content[:20]!r} {len(content)}",
)
def test_hostile_files_are_refused_in_words(content: bytes) -> None:
    found = shown(Family(), content)
    assert found.broken
    assert found.broken.number <= 1
    assert len(found.broken.reason) < 1000


def test_old_ancestors_say_less_so_that_a_nightly_stage_can_carry_them_all() -> None:
    family = Family(12)
    huge = a_gate(family.chain[10].sha256, "PASSED" + "x" * 10_000)
    family.chain[10] = msgspec.structs.replace(family.chain[10], gate=raw(huge))
    kept = list(compact(family.chain[1:]))
    assert [bool(one.job) for one in kept] == [True] * 8 + [False] * 3
    assert [len(one.gate) for one in kept] == [1] * 9 + [0, 1]
    family.chain[1:] = kept
    found = shown(family)
    assert found.is_shown
    assert found.generations[11].submitter is None
    line = len(family.file) / 12
    assert line * GENERATIONS_MAX < FILE_MAX_BYTES / 2
