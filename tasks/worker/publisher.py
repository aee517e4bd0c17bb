"""Copies a build's artifacts, log and record from the host to the store."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from tasks import __version__
from tasks.artifacts.fingerprint import recipe
from tasks.artifacts.manifest import compressed_log
from tasks.artifacts.provenance import job_name, result_name
from tasks.errors import StagefarmError
from tasks.host.machine import machine_id
from tasks.ledger.answers import ClaimedAttempt
from tasks.ledger.builds import Ledger
from tasks.ledger.records import Attempt
from tasks.model import Build
from tasks.results import Artifact, Cause
from tasks.settings import Settings
from tasks.store.opening import open_store
from tasks.store.store import OnBytes, Store
from tasks.trust.builds import Job
from tasks.trust.policy import host_key
from tasks.trust.statements import Made, sign_result
from tasks.worker.jobs import kept_job
from tasks.worker.journal import Journal

logger = logging.getLogger(__name__)

COUNTED = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Publisher:
    settings: Settings
    ledger: Ledger

    def put(
        self, claim: ClaimedAttempt, job: Job, home: Path, on_bytes: OnBytes = int
    ) -> tuple[str, tuple[Artifact, ...]]:
        """Sign and store what the steps made; returns the folder's URL and the artifacts with
        theirs. `on_bytes` is told how much of them has arrived."""
        journal = Journal(home)
        results = journal.results().values()
        made = [artifact for result in results for artifact in result.artifacts]
        sidecars = [artifact for result in results for artifact in result.sidecars]
        seed, origin = journal.seed()
        listed = [_listed(artifact) for artifact in made]
        ended = {"state": "succeeded", "seed": seed, "artifacts": listed}
        host, key = claim.holder.host, host_key(self.settings)
        files = [*made, *sidecars]
        more = Made(origin=origin, recipe=recipe(job.build), machine=machine_id())
        signed = sign_result(job, claim.attempt, host, files, seed, time.time(), key, more)
        extras: dict[str, Path | bytes] = {one.name: Path(one.path) for one in sidecars}
        for artifact in made:
            extras[job_name(artifact.name)] = job.text.encode()
            extras[result_name(artifact.name)] = signed.encode()
        return self._put(claim, job.build, home, made, ended, extras, on_bytes)

    def record_failure(
        self, claim: ClaimedAttempt, home: Path, error: StagefarmError, cause: Cause | None = None
    ) -> str:
        """Store the log and the record of a failed build; returns the folder's URL, empty if
        the store cannot take them, which must not delay the failure."""
        ended: dict[str, Any] = {"state": "failed", "cause": cause}
        ended |= {"error": type(error).__name__, "reason": str(error)}
        try:
            return self._put(claim, kept_job(home).build, home, [], ended)[0]
        except (OSError, StagefarmError) as failed:
            logger.warning(
                "cannot store the record of %s.%s: %s", claim.build, claim.attempt, failed
            )
            return ""

    def withdraw(self, claim: ClaimedAttempt, build: Build) -> None:
        """Remove from the store what the attempt put there: the ledger did not accept it."""
        self._store.withdraw(build, claim.attempt, _counted(self.ledger.attempts(build.id)))

    @property
    def _store(self) -> Store:
        return open_store(self.settings)

    def _put(
        self,
        claim: ClaimedAttempt,
        build: Build,
        home: Path,
        made: list[Artifact],
        ended: dict[str, Any],
        sidecars: Mapping[str, Path | bytes] = MappingProxyType({}),
        on_bytes: OnBytes = int,
    ) -> tuple[str, tuple[Artifact, ...]]:
        history, record = self.ledger.attempts(build.id), self.ledger.record(build.id)
        about = {
            "stagefarm": __version__,
            "attempt": claim.attempt,
            "host": claim.holder.host,
            "claimed_at": record.claimed,
            "ended_at": self.ledger.now(),
            **ended,
            "attempts": history,
            "build": build,
        }
        extras: dict[str, Path | bytes] = {
            "build.log": home / "build.log",
            "record.json": msgspec.json.format(msgspec.json.encode(about)) + b"\n",
        }
        for artifact in made:
            extras[f"{artifact.name}.build.json"] = extras["record.json"]
            extras[f"{artifact.name}.log.zst"] = compressed_log(home / "build.log")
        extras |= sidecars
        store, counted = self._store, _counted(history)
        store.sweep(build, claim.attempt, counted)
        here = (build, claim.attempt, claim.holder.host)
        artifacts = store.put(*here, made, extras, counted, on_bytes)
        return store.place(build, claim.attempt), artifacts


def _counted(history: Sequence[Attempt]) -> set[int]:
    """The attempts whose folders in the store are kept."""
    return {attempt.number for attempt in history if attempt.how in COUNTED}


def _listed(artifact: Artifact) -> dict[str, str | int]:
    return {"name": artifact.name, "size_bytes": artifact.size_bytes, "sha256": artifact.sha256}
