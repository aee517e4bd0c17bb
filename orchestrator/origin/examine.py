"""Verifies the evidence of one stage: its job, its result, the gate's statement, its rebuilds.

`Untrusted` says what is wrong with it. A key that is not known is not wrong, but counts for
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

import msgspec

from orchestrator.origin.evidence import REBUILDS_MAX, Evidence, Sealed
from orchestrator.origin.ring import Claim, Ring, Signer, Standing, envelope_of
from tasks.artifacts.fingerprint import recipe
from tasks.errors import StagefarmError, Untrusted
from tasks.model import Build, decode
from tasks.results import SeedOrigin
from tasks.trust.builds import digest_of
from tasks.trust.envelope import PayloadType
from tasks.trust.statements import HOST_PREFIX, IN_TOTO_NAMES, Digested, Result, read_result

if TYPE_CHECKING:
    from securesystemslib.dsse import Envelope


class Vouched(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a publisher has verified of a stage by its own trust file: that the host of this name
    signed `result`, by its digest, that this submitter signed the job in it; and the names of the
    hosts that built it again, by the digests of what they signed."""

    sha256: str
    result: str = ""
    host: str = ""
    submitter: str = ""
    rebuilders: dict[str, str] = msgspec.field(default_factory=dict)


class Outcome(StrEnum):
    """How a rebuild ended: with the same bytes on another host, or on the same one, which proves
    less; with others; or it is not comparable."""

    SAME = "same"
    SAME_HOST = "same host"
    DIFFERS = "differs"
    UNRELATED = "unrelated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """A rebuild of a stage, and whether it was done on the machine of the stage's own host, as far
    as both say."""

    host: Signer
    said_host: str
    outcome: Outcome
    sha256: str = ""
    finished: float = 0.0
    same_machine: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSaid:
    result: str
    by: Signer


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One stage of a chain, as its evidence shows it. `submitter` is None where the signed job is
    not there any more: its digest is in the result, whose host had verified it."""

    name: str
    sha256: str
    build: str
    job: str
    finished: float
    host: Signer
    said_host: str
    seed: str
    origin: SeedOrigin
    submitter: Signer | None = None
    said_submitter: str = ""
    gate: tuple[GateSaid, ...] = ()
    rebuilds: tuple[Rebuilt, ...] = ()
    commits: tuple[str, ...] = ()

    @property
    def reproduced(self) -> bool:
        """Whether another host made the same bytes of the same job and seed, and both are known."""
        return self.host.counts and any(
            one.outcome is Outcome.SAME and one.host.counts for one in self.rebuilds
        )


def examine(evidence: Evidence, ring: Ring, vouched: Vouched | None = None) -> Generation:
    """What the evidence shows. `Untrusted` if one of its parts was changed, or is about something
    else than the others. `vouched` is what a release with a known key says of it."""
    vouched = vouched or Vouched(sha256=evidence.sha256)
    envelope = envelope_of(evidence.result, "the result")
    result = read_result(envelope.payload)
    if evidence.sha256 not in result.files.values():
        raise Untrusted("the result is that of another tarball")
    claim = Claim(what="the result", key=result.key, at=result.finished, queue=result.queue)
    if vouched.result != digest_of(envelope):
        vouched = Vouched(sha256=evidence.sha256)
    host = _vouched(ring.host_of(envelope, claim), vouched.host)
    job = _job(evidence, result)
    made_of = result.recipe or (recipe(job[1]) if job else "")
    original = replace(result, key=host.key, recipe=made_of)
    return Generation(
        name=evidence.name,
        sha256=evidence.sha256,
        build=result.build,
        job=result.job_name,
        finished=result.finished,
        host=host,
        said_host=result.host.removeprefix(HOST_PREFIX),
        seed=result.seed,
        origin=result.origin,
        submitter=_submitter(job[0], ring, result, vouched) if job else None,
        said_submitter=job[1].submitter if job else "",
        gate=tuple(_gate(text, evidence.sha256, ring) for text in evidence.gate),
        rebuilds=tuple(_rebuilds(evidence, original, ring, vouched)),
        commits=result.commits,
    )


def _vouched(signer: Signer, name: str) -> Signer:
    if signer.counts or not name:
        return signer
    return replace(signer, name=name, standing=Standing.VOUCHED)


def _job(evidence: Evidence, result: Result) -> tuple[Envelope, Build] | None:
    if not evidence.job:
        return None
    envelope = envelope_of(evidence.job, "the job")
    if digest_of(envelope) != result.job:
        raise Untrusted("the job is not the one that the result is of")
    try:
        return envelope, decode(envelope.payload, Build)
    except StagefarmError as error:
        raise Untrusted(f"cannot read the job: {error}") from error


def _submitter(envelope: Envelope, ring: Ring, result: Result, vouched: Vouched) -> Signer:
    claim = Claim(what="the job", kind=PayloadType.BUILD, queue=result.queue)
    return _vouched(ring.submitter_of(envelope, claim), vouched.submitter)


# The gate


class _Said(msgspec.Struct, frozen=True):
    result: str


class _TestResult(msgspec.Struct, frozen=True, rename=IN_TOTO_NAMES):
    type: Literal["https://in-toto.io/Statement/v1"]
    predicate_type: Literal["https://in-toto.io/attestation/test-result/v0.1"]
    subject: tuple[Digested, ...]
    predicate: _Said


def _gate(text: Sealed, sha256: str, ring: Ring) -> GateSaid:
    envelope = envelope_of(text, "the gate's statement")
    by = ring.release_of(envelope, Claim(what="the gate's statement"))
    try:
        found = msgspec.json.decode(envelope.payload, type=_TestResult)
    except msgspec.MsgspecError as error:
        raise Untrusted(f"cannot read the gate's statement: {error}") from error
    if sha256 not in {one.digest.get("sha256") for one in found.subject}:
        raise Untrusted("the gate's statement is about another tarball")
    return GateSaid(result=found.predicate.result, by=by)


# Rebuilds


def _rebuilds(
    evidence: Evidence, original: Result, ring: Ring, vouched: Vouched
) -> Iterator[Rebuilt]:
    """The rebuilds of what the host with the key `original.key` built."""
    name = next(name for name, digest in original.files.items() if digest == evidence.sha256)
    for text in evidence.rebuilds[:REBUILDS_MAX]:
        envelope = envelope_of(text, "a rebuild's result")
        again = read_result(envelope.payload)
        claim = Claim(
            what="a rebuild's result", key=again.key, at=again.finished, queue=again.queue
        )
        host = ring.host_of(envelope, claim)
        yield Rebuilt(
            host=_vouched(host, vouched.rebuilders.get(digest_of(envelope), "")),
            said_host=again.host.removeprefix(HOST_PREFIX),
            outcome=_outcome(original, replace(again, key=host.key), name),
            sha256=again.files.get(name, ""),
            finished=again.finished,
            same_machine=bool(again.machine) and again.machine == original.machine,
        )


def _outcome(original: Result, again: Result, name: str) -> Outcome:
    """Two results are comparable if their hosts say that they made the same of the same seed."""
    if not original.recipe or (original.recipe, original.seed) != (again.recipe, again.seed):
        return Outcome.UNRELATED
    if again.files.get(name) != original.files[name]:
        return Outcome.DIFFERS
    return Outcome.SAME_HOST if again.key == original.key else Outcome.SAME
