"""What the gate says of a published stage, signed with the release's key.

It is an in-toto statement with the predicate test-result v0.1 of in-toto, which lies beside the
tarball as `<tarball>.gate.intoto.jsonl`. Fields that the predicate does not know say more: the
findings, the waivers, and the stage that it was compared with.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Literal

import msgspec

from orchestrator.gate.findings import Finding, Judgement, Verdict
from orchestrator.gate.policy import Policy
from orchestrator.gate.waivers import NO_WAIVERS, Waiver, Waivers
from tasks.errors import Untrusted
from tasks.trust.envelope import PayloadType, from_text, signed, signer_of, to_text
from tasks.trust.keys import PrivateKey, PublicKey
from tasks.trust.statements import IN_TOTO_NAMES, STATEMENT, Digested

ENDING = "gate.intoto.jsonl"
LIMIT_BYTES = 16 * 2**20
"""A larger file is not one of these."""

TEST_RESULT: Literal["https://in-toto.io/attestation/test-result/v0.1"] = (
    "https://in-toto.io/attestation/test-result/v0.1"
)


class Result(StrEnum):
    PASSED = "PASSED"
    WARNED = "WARNED"
    FAILED = "FAILED"


RESULTS = {Verdict.PASS: Result.PASSED, Verdict.WARN: Result.WARNED, Verdict.HOLD: Result.FAILED}


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A finding; `waiver` is why it does not count, empty if it does."""

    digest: str
    check: str
    path: str
    before: str = ""
    after: str = ""
    verdict: Verdict
    message: str = ""
    waiver: str = ""
    until: str = ""


class Predicate(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`configuration` is the policy, `against` the tarball that it was compared with."""

    result: Result
    configuration: tuple[Digested, ...]
    passed_tests: tuple[str, ...] = ()
    warned_tests: tuple[str, ...] = ()
    failed_tests: tuple[str, ...] = ()
    findings: tuple[Found, ...] = ()
    against: tuple[Digested, ...] = ()


class Attestation(msgspec.Struct, frozen=True, kw_only=True, rename=IN_TOTO_NAMES):
    type: Literal["https://in-toto.io/Statement/v1"] = STATEMENT
    predicate_type: Literal["https://in-toto.io/attestation/test-result/v0.1"] = TEST_RESULT
    subject: tuple[Digested, ...]
    predicate: Predicate


def attestation_name(tarball: str) -> str:
    return f"{tarball}.{ENDING}"


def attested(
    judgement: Judgement,
    tarball: str,
    *,
    policy: Policy,
    waivers: Waivers = NO_WAIVERS,
    against: Digested | None = None,
) -> Attestation:
    """What is said of the stage in `tarball`: it passed the checks that have found nothing."""
    names = dict.fromkeys(policy.checks, Verdict.PASS) | _worst(judgement.findings)
    return Attestation(
        subject=(Digested(name=tarball, digest={"sha256": judgement.sha256}),),
        predicate=Predicate(
            result=RESULTS[judgement.verdict],
            configuration=(policy.digested,),
            passed_tests=_with(names, Verdict.PASS),
            warned_tests=_with(names, Verdict.WARN),
            failed_tests=_with(names, Verdict.HOLD),
            findings=(
                *(_found(finding) for finding in judgement.findings),
                *(_found(one, waivers.of(judgement.stage, one)) for one in judgement.waived),
            ),
            against=(against,) if against else (),
        ),
    )


def _worst(findings: Iterable[Finding]) -> dict[str, Verdict]:
    """The worst verdict of each check that found something."""
    found: dict[str, Verdict] = {}
    for finding in findings:
        if found.get(finding.check) is not Verdict.HOLD:
            found[finding.check] = finding.verdict
    return found


def _with(names: dict[str, Verdict], verdict: Verdict) -> tuple[str, ...]:
    return tuple(sorted(name for name, said in names.items() if said is verdict))


def _found(finding: Finding, waiver: Waiver | None = None) -> Found:
    return Found(
        digest=finding.digest,
        check=finding.check,
        path=finding.path,
        before=finding.before,
        after=finding.after,
        verdict=finding.verdict,
        message=finding.message,
        waiver=f"{waiver.by}: {waiver.because}" if waiver else "",
        until=str(waiver.until) if waiver else "",
    )


def sign_attestation(attestation: Attestation, key: PrivateKey) -> bytes:
    """The content of `<tarball>.gate.intoto.jsonl`."""
    payload = msgspec.json.encode(attestation)
    return to_text(signed(payload, PayloadType.STATEMENT, key)).encode() + b"\n"


def read_attestation(text: bytes, keys: Iterable[PublicKey], sha256: str) -> Attestation:
    """What the gate says of the tarball with that digest; `Untrusted` if none of `keys` signed it,
    or it is about another tarball."""
    try:
        envelope = from_text(text.decode())
    except UnicodeDecodeError as error:
        raise Untrusted(f"the gate's statement is malformed: {error}") from error
    if not signer_of(envelope, PayloadType.STATEMENT, keys):
        raise Untrusted("the gate's statement is not signed with the key of the release")
    try:
        found = msgspec.json.decode(envelope.payload, type=Attestation)
    except msgspec.MsgspecError as error:
        raise Untrusted(f"cannot read the gate's statement: {error}") from error
    if sha256 not in {one.digest.get("sha256") for one in found.subject}:
        raise Untrusted("the gate's statement is about another tarball")
    return found
