"""What a host signs: its checkpoints, and the provenance of what it built.

Provenance is an in-toto statement with a SLSA 1.0 predicate (slsa.dev/spec/v1.0/provenance), bound
to the digest of the signed job.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

import msgspec

from tasks import __version__
from tasks.errors import Untrusted
from tasks.model import Build, encode
from tasks.results import NO_ORIGIN, Artifact, Checkpoint, SeedOrigin
from tasks.trust.builds import Job
from tasks.trust.envelope import PayloadType, content, from_text, signed, signer_of, to_text
from tasks.trust.keys import PrivateKey
from tasks.trust.policy import Entry, Trust

if TYPE_CHECKING:
    from securesystemslib.dsse import Envelope

STATEMENT: Literal["https://in-toto.io/Statement/v1"] = "https://in-toto.io/Statement/v1"
PROVENANCE: Literal["https://slsa.dev/provenance/v1"] = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:stagefarm:build:v1"
HOST_PREFIX = "urn:stagefarm:host:"


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


class Digested(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A file that was made, or something that a build started from, by its sha256; `uri` is where
    that came from, and the annotation `verified` by what it was known there."""

    name: str
    digest: dict[str, str]
    uri: str = ""
    annotations: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)


Parameters = dict[str, str | dict[str, str]]


class Definition(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True
):  # fmt: skip
    """External parameters are the submitter's, internal ones the host's."""

    build_type: str
    external_parameters: Parameters
    internal_parameters: dict[str, str] = msgspec.field(default_factory=dict)
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
    there was none) and where that came from, and whose key signed it.

    `job` is the digest of the signed job, `recipe` that of what it makes (see
    `tasks.artifacts.fingerprint`), `key` the public key that the host says is its own, and
    `machine` a number of the host's machine; empty in results of earlier versions. `commits` are
    the repositories that the job is from, as `git+URL@COMMIT`.
    """

    build: str
    attempt: int
    host: str
    files: dict[str, str]
    seed: str = ""
    finished: float = 0.0
    origin: SeedOrigin = NO_ORIGIN
    job: str = ""
    job_name: str = ""
    queue: str = ""
    recipe: str = ""
    key: str = ""
    machine: str = ""
    commits: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What a host adds to a result beyond the files: where the seed came from, what the job makes
    of it, and which machine this is."""

    origin: SeedOrigin = NO_ORIGIN
    recipe: str = ""
    machine: str = ""


JOB, CONTEXT, SEED = "job", "context", "seed"
NO_INPUT = Digested(name="", digest={})
HOOKS, GIT = "hooks:", "git:"
"""Before the number of a step and its hook file, and the name of a repository, so that none is
taken for one of the above."""

HOOKS_MAX, OPTIONS_MAX_BYTES = 200, 16 * 2**10
"""What is more is left out of the provenance: the signed job has it all."""

NOTHING_MORE = Made()


def sign_result(
    job: Job, attempt: int, host: str, files: Sequence[Artifact], seed: str, now: float,
    key: PrivateKey, made: Made = NOTHING_MORE,
) -> str:  # fmt: skip
    """The signed provenance of `files`, as one line of JSON. `now` is in seconds since 1970."""
    build = job.build
    subjects = [Digested(name=one.name, digest={"sha256": one.sha256}) for one in files]
    internal = {"hostKey": str(key.public), "machine": made.machine, "recipe": made.recipe}
    definition = Definition(
        build_type=BUILD_TYPE,
        external_parameters=_parameters(build),
        internal_parameters={name: text for name, text in internal.items() if text},
        resolved_dependencies=tuple(_dependencies(job, seed, made.origin)),
    )
    run = Run(
        builder=Builder(id=f"{HOST_PREFIX}{host}", version={"stagefarm": __version__}),
        metadata={
            "invocationId": f"{build.id}.{attempt}",
            "finishedOn": datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds"),
        },
    )
    provenance = Provenance(build_definition=definition, run_details=run)
    statement = Statement(subject=tuple(subjects), predicate=provenance)
    return to_text(signed(msgspec.json.encode(statement), PayloadType.STATEMENT, key))


def _parameters(build: Build) -> Parameters:
    """What the submitter chose, as far as it tells builds apart."""
    named: Parameters = {
        "build": build.id,
        "job": build.job,
        "queue": build.queue,
        "specfile": build.specfile,
        "batch": build.batch,
        "submitter": build.submitter,
        "rebuildOf": build.rebuild_of,
    }
    if len(encode(build.environment)) <= OPTIONS_MAX_BYTES:
        named["options"] = build.environment
    return {name: value for name, value in named.items() if value}


def _dependencies(job: Job, seed: str, origin: SeedOrigin) -> Iterator[Digested]:
    """What the build started from, by digest: the job, the submitter's folder, the seed, the
    repositories, and the hooks as they were rendered."""
    build = job.build
    yield Digested(name=JOB, digest={"sha256": job.digest})
    if build.context:
        yield Digested(name=CONTEXT, digest={"sha256": build.context})
    if seed:
        known = {"verified": origin.verified} if origin.verified else {}
        yield Digested(name=SEED, digest={"sha256": seed}, uri=origin.uri, annotations=known)
    for one in build.inputs:
        uri = f"git+{one.url}@{one.commit}"
        yield Digested(name=f"{GIT}{one.name}", digest={"gitCommit": one.commit}, uri=uri)
    for step in [step for step in build.steps if step.hooks][:HOOKS_MAX]:
        digest = hashlib.sha256(encode(step.hooks)).hexdigest()
        yield Digested(name=f"{HOOKS}{step.number}:{step.file}", digest={"sha256": digest})


def verified_result(text: str, job: Job, trust: Trust) -> Result:
    """What a trusted host says it built of `job`; `Untrusted` if it was not signed by one that this
    machine trusts, or is of another job."""
    envelope = from_text(text)
    host = _host(envelope, PayloadType.STATEMENT, job, trust, "the result")
    result = read_result(envelope.payload)
    if result.job != job.digest:
        raise Untrusted(f"the result is of another job than that of {job.build.id}")
    if host and (reason := host.ended(result.finished)):
        raise Untrusted(f"the key of the host {host.name} {reason}")
    return replace(result, host=host.name, key=str(host.public)) if host else result


def read_result(payload: bytes) -> Result:
    """What the statement says, whoever signed it; `Untrusted` if it is none of a build. The host is
    named as it names itself."""
    statement = _statement(payload)
    definition, run = statement.predicate.build_definition, statement.predicate.run_details
    inputs = {one.name: one for one in definition.resolved_dependencies}
    internal, seed = definition.internal_parameters, inputs.get(SEED, NO_INPUT)
    build, _, attempt = run.metadata.get("invocationId", "").rpartition(".")
    external = {
        name: text for name, text in definition.external_parameters.items() if isinstance(text, str)
    }
    return Result(
        build=build,
        attempt=int(attempt) if attempt.isdecimal() and attempt.isascii() else 0,
        host=run.builder.id,
        files={one.name: one.digest.get("sha256", "") for one in statement.subject},
        seed=seed.digest.get("sha256", ""),
        finished=_time(run.metadata.get("finishedOn", "")),
        origin=SeedOrigin(uri=seed.uri, verified=seed.annotations.get("verified", ())),
        job=inputs.get(JOB, NO_INPUT).digest.get("sha256", ""),
        job_name=external.get("job", ""),
        queue=external.get("queue", ""),
        recipe=internal.get("recipe", ""),
        key=internal.get("hostKey", ""),
        machine=internal.get("machine", ""),
        commits=tuple(one.uri for name, one in inputs.items() if name.startswith(GIT)),
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
