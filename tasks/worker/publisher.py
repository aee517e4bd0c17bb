"""Copies a build's artifacts, log and record from the host to the store."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from tasks import __version__
from tasks.artifacts.manifest import compressed_log
from tasks.artifacts.store import FileStore
from tasks.errors import StagefarmError
from tasks.ledger.answers import ClaimedAttempt
from tasks.ledger.builds import Ledger
from tasks.ledger.records import Attempt
from tasks.model import Artifact, Build
from tasks.settings import Settings

logger = logging.getLogger(__name__)

COUNTED = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Publisher:
    settings: Settings
    ledger: Ledger

    def put(
        self, claim: ClaimedAttempt, build: Build, home: Path
    ) -> tuple[str, tuple[Artifact, ...]]:
        """Store what the steps made; returns the folder's URL and the artifacts with theirs."""
        results = self.ledger.results(build.id, claim.attempt, len(build.steps))
        made = [artifact for result in results.values() for artifact in result.artifacts]
        seed = next((result.seed for result in results.values() if result.seed), "")
        listed = [_listed(artifact) for artifact in made]
        ended = {"state": "succeeded", "seed": seed, "artifacts": listed}
        sidecars = [artifact for result in results.values() for artifact in result.sidecars]
        return self._put(claim, build, home, made, ended, sidecars)

    def record_failure(
        self, claim: ClaimedAttempt, build: Build, home: Path, error: StagefarmError
    ) -> str:
        """Store the log and the record of a failed build; returns the folder's URL, empty if
        the store cannot take them, which must not delay the failure."""
        ended = {"state": "failed", "error": type(error).__name__, "reason": str(error)}
        try:
            return self._put(claim, build, home, [], ended)[0]
        except (OSError, StagefarmError) as failed:
            logger.warning(
                "cannot store the record of %s.%s: %s", claim.build, claim.attempt, failed
            )
            return ""

    def withdraw(self, claim: ClaimedAttempt, build: Build) -> None:
        """Remove from the store what the attempt put there: the ledger did not accept it."""
        self._store.withdraw(build, claim.attempt, _counted(self.ledger.attempts(build.id)))

    @property
    def _store(self) -> FileStore:
        return FileStore.at(self.settings.store)

    def _put(
        self,
        claim: ClaimedAttempt,
        build: Build,
        home: Path,
        made: list[Artifact],
        ended: dict[str, Any],
        sidecars: Sequence[Artifact] = (),
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
        extras |= {artifact.name: Path(artifact.path) for artifact in sidecars}
        store, counted = self._store, _counted(history)
        store.sweep(build, claim.attempt, counted)
        artifacts = store.put(build, claim.attempt, claim.holder.host, made, extras, counted)
        return store.folder(build, claim.attempt).as_uri(), artifacts


def _counted(history: Sequence[Attempt]) -> set[int]:
    """The attempts whose folders in the store are kept."""
    return {attempt.number for attempt in history if attempt.how in COUNTED}


def _listed(artifact: Artifact) -> dict[str, str | int]:
    return {"name": artifact.name, "size_bytes": artifact.size_bytes, "sha256": artifact.sha256}
