"""Builds in Redis: the only source of truth about their state.

Each change of a build is one Lua script in the folder `lua`, so it is atomic, and uses Redis's
clock. The answer is a member of a closed set. A call repeated after a lost answer returns the same
answer and changes nothing. `docs/farm.md` lists the keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from redis.client import NEVER_DECODE

from tasks import __version__
from tasks.errors import BadInput, HostUnfit, StagefarmError
from tasks.ledger.answers import (
    BeginOutcome,
    CancelOutcome,
    ClaimedAttempt,
    ClaimOutcome,
    EndOutcome,
    RepeatOutcome,
    Requeued,
    RequeueOutcome,
    Resume,
)
from tasks.ledger.connection import Connection, check_schema, connect
from tasks.ledger.order import Order
from tasks.ledger.records import (
    FIELDS,
    Attempt,
    Record,
    Summary,
    step_fields,
    to_attempts,
    to_record,
    to_summary,
    to_times,
)
from tasks.ledger.written import as_added, as_respecified
from tasks.model import Build, decode, encode
from tasks.results import Artifact, Cause, Checkpoint, StepResult
from tasks.settings import Settings

FIRST_VERSION = "0.1.0"  # it wrote builds without a version
FORGET_AT_ONCE = 100
CONTEXT_TTL_S = 30 * 24 * 3600


class Ledger:
    """The builds of one farm."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    @classmethod
    def open(cls, settings: Settings, *, reading: bool = False) -> Ledger:
        """The farm's ledger; `FarmUnreachable`, or `HostUnfit` if its schema is another one. With
        `reading`, for callers that change nothing, it may be the schema before ours."""
        connection = connect(settings)
        check_schema(connection, reading=reading)
        return cls(connection)

    # What a submitter does

    def submit(
        self,
        builds: Sequence[Build],
        signatures: Mapping[str, str] = MappingProxyType({}),
        orders: Mapping[str, Order] = MappingProxyType({}),
    ) -> list[str]:
        """Queue `builds` in one round trip; returns the ids that other builds already have. By id,
        `signatures` are those of each build's JSON, and `orders` what its rank is made of."""
        pipeline = self.connection.client.pipeline(transaction=False)
        for build in builds:
            written = as_added(build, signatures.get(build.id, ""), orders.get(build.id))
            self.connection.script("submit", *written, through=pipeline)
        answers = self.connection.run(pipeline)
        return [build.id for build, answer in zip(builds, answers, strict=True) if answer != "ok"]

    def cancel(self, build: str, reason: str) -> CancelOutcome:
        answer = self.connection.script("cancel", build, reason)
        return CancelOutcome(self._known(build, answer))

    def retry(
        self,
        build: str,
        request: str,
        *,
        point: str = "",
        respecified: Build | None = None,
        signatures: str = "",
    ) -> int:
        """Queue an ended build again, from the checkpoint at `point` (a key of `checkpoints`), with
        `respecified` and its signatures in its place; returns its attempt. `request` is a unique id
        of this request; a repeated call passes the same one. `BadInput` if the build has not
        ended."""
        spec = as_respecified(respecified, signatures) if respecified else []
        answer, attempt = self.connection.script("retry", build, request, point, "", *spec)
        if self._known(build, answer) == "running":
            raise not_ended(build)
        if answer == "broken":
            raise BadInput(
                f"{build} starts from the output of {attempt}, which did not succeed",
                f"stagefarm retry {attempt} {build}",
            )
        return int(attempt)

    def sign(self, before: str, build: Build, signatures: str) -> bool:
        """Store `build` and its signatures in place of the unsigned JSON `before`; False if that
        has changed or was signed meanwhile."""
        spec = encode(build).decode()
        answer = self.connection.script("sign", build.id, before, spec, signatures)
        return bool(self._known(build.id, answer) == "ok")

    def note_gate(self, build: str, text: str) -> bool:
        """Note what a gate says of the build, for people; False if the ledger does not have it."""
        return bool(self.connection.script("note_gate", build, text) == "ok")

    def unsigned(self) -> list[str]:
        """The builds that have no signatures, newest first."""
        builds, pipeline = self.builds(0), self.connection.client.pipeline(transaction=False)
        for build in builds:
            pipeline.hmget(self.connection.key("build", build), "signatures")
        found = zip(builds, self.connection.run(pipeline), strict=True)
        return [build for build, (signatures,) in found if signatures in (None, "", "[]")]

    def followers(self, build: str) -> list[Record]:
        """The builds that start from the output of `build`."""
        with self.connection.reaching() as client:
            found = sorted(client.smembers(self.connection.key("build", build, "followers")))
        return self.records(found)

    def keep_context(self, digest: str, data: bytes) -> None:
        """Store a bundle under its digest, for 30 days."""
        if not self.touch_context(digest):
            with self.connection.reaching() as client:
                client.set(self.connection.key("context", digest), data, ex=CONTEXT_TTL_S)

    def touch_context(self, digest: str) -> bool:
        """Keep a bundle for another 30 days; False if it is gone."""
        with self.connection.reaching() as client:
            return bool(client.expire(self.connection.key("context", digest), CONTEXT_TTL_S))

    # What a host does

    def claim(self, claim: ClaimedAttempt, lease_s: float) -> ClaimOutcome:
        return ClaimOutcome(self.connection.script("claim", *claim.args, lease_s))

    def ranked_before(self, claim: ClaimedAttempt, limit: int) -> list[ClaimedAttempt]:
        """The first builds of its queue that its holder should claim instead, by rank."""
        found = self.connection.script("ranked_before", claim.build, claim.attempt, limit)
        return [ClaimedAttempt(build, int(attempt), claim.holder) for build, attempt in found]

    def begin_step(self, claim: ClaimedAttempt, step: int, token: str) -> BeginOutcome:
        return BeginOutcome(self.connection.script("begin_step", *claim.args, step, token))

    def end_step(self, claim: ClaimedAttempt, step: int, result: StepResult) -> EndOutcome:
        listed, kept = encode(result).decode(), int(result.checkpoint is not None)
        return EndOutcome(self.connection.script("end_step", *claim.args, step, listed, kept))

    def allow_repeat(self, claim: ClaimedAttempt, step: int, token: str) -> RepeatOutcome:
        """Allow one repetition of a step whose process, named by `token`, died."""
        return RepeatOutcome(self.connection.script("allow_repeat", *claim.args, step, token))

    def finish(self, claim: ClaimedAttempt, artifacts: Sequence[Artifact], url: str) -> EndOutcome:
        """The compare-and-set that makes a build succeed and its artifacts visible."""
        listed = encode(tuple(artifacts)).decode()
        return EndOutcome(self.connection.script("finish", *claim.args, listed, url))

    def fail(
        self,
        claim: ClaimedAttempt,
        error: str,
        reason: str,
        hint: str,
        url: str = "",
        cause: Cause | None = None,
    ) -> EndOutcome:
        told = (error, reason, hint, url, encode(cause).decode() if cause else "")
        return EndOutcome(self.connection.script("fail", *claim.args, *told))

    def cancelled(self, claim: ClaimedAttempt) -> EndOutcome:
        return EndOutcome(self.connection.script("cancelled", *claim.args))

    def lose(self, claim: ClaimedAttempt, reason: str, attempts_max: int) -> Requeued:
        """The attempt died; the build is queued again, at most `attempts_max` times."""
        answer = self.connection.script("end_attempt", *claim.args, "lost", reason, attempts_max)
        return Requeued(claim.build, RequeueOutcome(answer[0]), int(answer[1]))

    def hand_back(
        self, claim: ClaimedAttempt, reason: str, attempts_max: int, *, from_start: bool = False
    ) -> Requeued:
        """The host returns the build unfinished; this does not count as a loss.
        `from_start`: the next attempt uses no checkpoint."""
        told = ("handed back", reason, attempts_max, int(from_start))
        answer = self.connection.script("end_attempt", *claim.args, *told)
        return Requeued(claim.build, RequeueOutcome(answer[0]), int(answer[1]))

    def expire(self, build: str, attempt: int, attempts_max: int) -> Requeued:
        """The lease of the attempt has expired; nothing changes if it was renewed meanwhile."""
        answer = self.connection.script("expire", build, attempt, attempts_max)
        return Requeued(build, RequeueOutcome(answer[0]), int(answer[1]))

    def forget(self, older_than_s: float) -> int:
        """Remove the oldest of the builds that ended so long ago from the ledger; returns how many,
        0 if there are none. Their artifacts stay in the store."""
        before = self.now() - older_than_s
        with self.connection.reaching() as client:
            found = client.zrange(
                self.connection.key("ended"),
                "-inf",
                f"({before}",
                byscore=True,
                offset=0,
                num=FORGET_AT_ONCE,
            )
        pipeline = self.connection.client.pipeline(transaction=False)
        for build in found:
            self.connection.script("forget", build, before, through=pipeline)
        return sum(self.connection.run(pipeline))

    def refuse(self, build: str, attempt: int, host: str, reason: str) -> bool:
        """`host` refuses the build; False if it is no longer queued."""
        return bool(self.connection.script("refuse", build, attempt, host, reason) == "ok")

    def results(self, build: str, attempt: int, steps: int) -> dict[int, StepResult]:
        """The results of the steps of an attempt that have ended, by step number."""
        names = [f"{attempt}.{step}.result" for step in range(steps)]
        with self.connection.reaching() as client:
            found = client.hmget(self.connection.key("build", build, "steps"), names)
        return {step: decode(data, StepResult) for step, data in enumerate(found) if data}

    def checkpoints(self, build: str) -> dict[str, Checkpoint]:
        """Every checkpoint of the build, by `<attempt>.<step>`."""
        with self.connection.reaching() as client:
            found = client.hgetall(self.connection.key("build", build, "steps"))
        results = {
            name.removesuffix(".result"): decode(data, StepResult)
            for name, data in found.items()
            if name.endswith(".result")
        }
        return {name: kept for name, result in results.items() if (kept := result.checkpoint)}

    def resume(self, build: str, attempt: int) -> Resume | None:
        """What the attempt resumes from, or None if it starts from the first step."""
        key = self.connection.key("build", build, "steps")
        with self.connection.reaching() as client:
            point, _, why = (client.hget(key, f"{attempt}.resume") or "").partition(" ")
            data = client.hget(key, f"{point}.result") if point else None
        kept = decode(data, StepResult).checkpoint if data else None
        return Resume(kept, asked=why == "asked") if kept else None

    def artifacts(self, build: str) -> tuple[Artifact, ...]:
        """The artifacts of the newest attempt of `build` that succeeded, also while it is retried;
        empty if there is none, or the ledger no longer has the build."""
        key = self.connection.key("build", build)
        with self.connection.reaching() as client:
            newest, earlier = client.hmget(key, "artifacts", "earlier_artifacts")
        return decode(newest or earlier or "[]", tuple[Artifact, ...])

    def context(self, digest: str) -> bytes | None:
        """A submitter's bundle, or None if it has expired."""
        key = self.connection.key("context", digest)
        with self.connection.reaching() as client:
            found: bytes | None = client.execute_command("GET", key, **{NEVER_DECODE: True})
        return found

    # What any client reads

    def build(self, build: str) -> Build:
        """The build as it was submitted, or respecified since, not verified: for messages and to
        show it. `HostUnfit` if another version of stagefarm wrote it in a form that this one cannot
        read."""
        with self.connection.reaching() as client:
            key = self.connection.key("build", build)
            found, version = client.hmget(key, "spec", "version")
        spec = str(self._known(build, found or "unknown"))
        try:
            return decode(spec, Build)
        except StagefarmError as error:
            raise unreadable(build, version or FIRST_VERSION, error) from error

    def signed(self, build: str) -> tuple[str, str]:
        """The JSON of the build, as it was signed, and its signatures, empty if there are none."""
        with self.connection.reaching() as client:
            key = self.connection.key("build", build)
            found, signatures = client.hmget(key, "spec", "signatures")
        return str(self._known(build, found or "unknown")), signatures or ""

    def knows(self, build: str) -> bool:
        with self.connection.reaching() as client:
            return bool(client.exists(self.connection.key("build", build)))

    def record(self, build: str) -> Record:
        (found,) = self.records([build])
        return found

    def find(self, build: str) -> Record | None:
        """The record of `build`, None if the ledger does not have it."""
        return self.record(build) if self.knows(build) else None

    def records(self, builds: Iterable[str]) -> list[Record]:
        """The record of each of `builds`; `BadInput` if there is no such build."""
        wanted = list(builds)
        pipeline = self.connection.client.pipeline(transaction=False)
        for build in wanted:
            pipeline.hmget(self.connection.key("build", build), FIELDS)
        return [
            to_record(self._known(build, build if any(values) else "unknown"), values)
            for build, values in zip(wanted, self.connection.run(pipeline), strict=True)
        ]

    def step_times(self, build: str, attempt: int, steps: int) -> list[tuple[float, float]]:
        """When each step of an attempt began and ended, 0 where it did not."""
        names = step_fields(attempt, steps)
        with self.connection.reaching() as client:
            return to_times(client.hmget(self.connection.key("build", build, "steps"), names))

    def attempts(self, build: str) -> list[Attempt]:
        with self.connection.reaching() as client:
            return to_attempts(client.hgetall(self.connection.key("build", build, "attempts")))

    def refusals(self, build: str) -> dict[str, tuple[float, str]]:
        """When and why each host refused the build."""
        with self.connection.reaching() as client:
            found = client.hgetall(self.connection.key("build", build, "refusals"))
        parts = {host: text.partition(" ") for host, text in found.items()}
        return {host: (float(at), reason) for host, (at, _, reason) in parts.items()}

    def builds(self, count: int = 50) -> list[str]:
        """The ids of the newest builds, newest first; all builds if `count` is 0."""
        return self._newest("builds", count)

    def batch(self, batch: str) -> list[str]:
        """The builds of a batch in the order of submission; empty if there is no such batch."""
        with self.connection.reaching() as client:
            return list(client.lrange(self.connection.key("batch", batch, "builds"), 0, -1))

    def batches(self, count: int = 50) -> list[str]:
        return self._newest("batches", count)

    def summaries(self, batches: Sequence[str]) -> list[Summary]:
        """When each of `batches` was submitted, and how many of its builds are in each state."""
        pipeline = self.connection.client.pipeline(transaction=False)
        for batch in batches:
            pipeline.zscore(self.connection.key("batches"), batch)
            pipeline.hgetall(self.connection.key("batch", batch))
        found = self.connection.run(pipeline)
        return [
            to_summary(batch, submitted, counts)
            for batch, submitted, counts in zip(batches, found[::2], found[1::2], strict=True)
        ]

    def _newest(self, name: str, count: int) -> list[str]:
        with self.connection.reaching() as client:
            found: list[str] = client.zrevrange(self.connection.key(name), 0, count - 1)
        return found

    def now(self) -> float:
        """Redis's clock."""
        with self.connection.reaching() as client:
            seconds, micros = client.time()
        return float(seconds + micros / 1e6)

    @staticmethod
    def _known(build: str, answer: Any) -> Any:
        if answer == "unknown":
            raise BadInput(f"there is no build {build!r}", "see `stagefarm status`")
        return answer


def not_ended(build: str) -> BadInput:
    return BadInput(f"build {build} has not ended", f"cancel it first: stagefarm cancel {build}")


def unreadable(build: str, version: str, error: StagefarmError) -> HostUnfit:
    return HostUnfit(
        f"build {build} was submitted by stagefarm {version}, which this {__version__} cannot "
        f"read: {error}",
        f"submit it again, or use {version} here",
    )
