"""What a host signs: its checkpoints, and the provenance of what it built.

Provenance is an in-toto statement with a SLSA 1.0 predicate (slsa.dev/spec/v1.0/provenance), bound
to the digest of the signed job.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

import msgspec

from tasks import __version__
from tasks.errors import Untrusted
from tasks.model import Artifact, Checkpoint, encode
from tasks.trust.builds import Job
from tasks.trust.envelope import PayloadType, content, from_text, signed, signer_of, to_text
from tasks.trust.keys import PrivateKey
from tasks.trust.policy import Entry, Trust

if TYPE_CHECKING:
    from securesystemslib.dsse import Envelope

STATEMENT: Literal["https://in-toto.io/Statement/v1"] = "https://in-toto.io/Statement/v1"
PROVENANCE: Literal["https://slsa.dev/provenance/v1"] = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:stagefarm:build:v1"


# Checkpoints


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    build: str
    checkpoint: Checkpoint


def sign_checkpoint(build: str, checkpoint: Checkpoint, key: PrivateKey) -> Checkpoint:
    """`checkpoint` of the build with that id, with its signature."""
    kept = _Kept(build=build, checkpoint=replace(checkpoint, signed=""))
    return replace(checkpoint, signed=to_text(signed(encode(kept), PayloadType.CHECKPOINT, key)))


def verified_checkpoint(checkpoint: Checkpoint, job: Job, trust: Trust) -> Checkpoint:
    """The checkpoint as its host signed it; `Untrusted` if none that this machine trusts did, or it
    is that of another build. The caller compares its lineage."""
    if not trust.required:
        return checkpoint
    if not checkpoint.signed:
        raise Untrusted("the checkpoint is not signed")
    envelope = from_text(checkpoint.signed)
    _host(envelope, PayloadType.CHECKPOINT, job, trust, "the checkpoint")
    kept = content(envelope, _Kept)
    if kept.build != job.build.id:
        raise Untrusted(f"the checkpoint is of another build, {kept.build}")
    return kept.checkpoint


# Results


class Digested(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was made, or something that a build started from, by its sha256."""

    name: str
    digest: dict[str, str]


class Definition(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    build_type: str = BUILD_TYPE
    external_parameters: dict[str, str]
    resolved_dependencies: tuple[Digested, ...] = ()


class Builder(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    version: dict[str, str]


class Run(msgspec.Struct, frozen=True, kw_only=True):
    builder: Builder
    metadata: dict[str, str]


class Provenance(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    build_definition: Definition
    run_details: Run


IN_TOTO_NAMES = {"type": "_type", "predicate_type": "predicateType"}


class Statement(msgspec.Struct, frozen=True, kw_only=True, rename=IN_TOTO_NAMES):
    type: Literal["https://in-toto.io/Statement/v1"] = STATEMENT
    predicate_type: Literal["https://slsa.dev/provenance/v1"] = PROVENANCE
    subject: tuple[Digested, ...]
    predicate: Provenance


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a host says it built: the sha256 of each file by name, the digest of the seed (empty if
    there was none), and whose key signed it."""

    build: str
    attempt: int
    host: str
    files: dict[str, str]
    seed: str = ""
    finished: float = 0.0


JOB, CONTEXT, SEED = "job", "context", "seed"


def sign_result(
    job: Job, attempt: int, host: str, files: Sequence[Artifact], seed: str, now: float,
    key: PrivateKey,
) -> str:  # fmt: skip
    """The signed provenance of `files`, as one line of JSON. `now` is in seconds since 1970."""
    build = job.build
    inputs = {JOB: job.digest, CONTEXT: build.context, SEED: seed}
    subjects = [Digested(name=one.name, digest={"sha256": one.sha256}) for one in files]
    definition = Definition(
        external_parameters={"build": build.id, "job": build.job, "queue": build.queue},
        resolved_dependencies=tuple(
            Digested(name=name, digest={"sha256": digest})
            for name, digest in inputs.items()
            if digest
        ),
    )
    run = Run(
        builder=Builder(id=f"urn:stagefarm:host:{host}", version={"stagefarm": __version__}),
        metadata={
            "invocationId": f"{build.id}.{attempt}",
            "finishedOn": datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds"),
        },
    )
    provenance = Provenance(build_definition=definition, run_details=run)
    statement = Statement(subject=tuple(subjects), predicate=provenance)
    return to_text(signed(msgspec.json.encode(statement), PayloadType.STATEMENT, key))


def verified_result(text: str, job: Job, trust: Trust) -> Result:
    """What a trusted host says it built of `job`; `Untrusted` if it was not signed by one that this
    machine trusts, or is of another job."""
    envelope = from_text(text)
    host = _host(envelope, PayloadType.STATEMENT, job, trust, "the result")
    statement = _statement(envelope.payload)
    definition, run = statement.predicate.build_definition, statement.predicate.run_details
    inputs = {one.name: one.digest.get("sha256", "") for one in definition.resolved_dependencies}
    finished = _time(run.metadata.get("finishedOn", ""))
    if inputs.get(JOB) != job.digest:
        raise Untrusted(f"the result is of another job than that of {job.build.id}")
    if host and (reason := host.ended(finished)):
        raise Untrusted(f"the key of the host {host.name} {reason}")
    build, _, attempt = run.metadata.get("invocationId", "").rpartition(".")
    return Result(
        build=build,
        attempt=int(attempt) if attempt.isdecimal() else 0,
        host=host.name if host else run.builder.id,
        files={one.name: one.digest.get("sha256", "") for one in statement.subject},
        seed=inputs.get(SEED, ""),
        finished=finished,
    )


def _host(envelope: Envelope, kind: PayloadType, job: Job, trust: Trust, what: str) -> Entry | None:
    """The host that signed, which must be trusted for the job's queue; None where nothing is
    verified."""
    if not trust.required:
        return None
    entries: Iterable[Entry] = trust.hosts
    keys = {entry.public: entry for entry in entries}
    found = signer_of(envelope, kind, keys)
    if not found:
        raise Untrusted(
            f"{what} of {job.build.id} is not signed by a host that this machine trusts",
            "stagefarm keys trust host KEY, with what `stagefarm keys show` prints on that host",
        )
    host = keys[found]
    if host.revoked:
        raise Untrusted(f"{what} of {job.build.id} is signed with a revoked key of {host.name}")
    if not host.serves(job.build.queue):
        raise Untrusted(f"{what}: the host {host.name} is not trusted for {job.build.queue}")
    return host


def _time(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError as error:
        raise Untrusted(f"the result has no valid time: {text!r}") from error


def _statement(payload: bytes) -> Statement:
    try:
        return msgspec.json.decode(payload, type=Statement)
    except msgspec.MsgspecError as error:
        raise Untrusted(f"cannot read the signed result: {error}") from error
