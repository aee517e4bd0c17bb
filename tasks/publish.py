"""Bringing a build's artifacts, log and record from the host to the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from tasks import __version__
from tasks.artifacts import compressed_log
from tasks.errors import PackFailed, StagefarmError
from tasks.ledger import Ledger, Turn
from tasks.model import Artifact, Build
from tasks.patience import patiently
from tasks.settings import Settings
from tasks.store import FileStore

COUNTED = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Publisher:
    settings: Settings
    ledger: Ledger

    def put(self, turn: Turn, build: Build, home: Path) -> tuple[str, tuple[Artifact, ...]]:
        """Store what the steps made; gives the folder's URL and the artifacts with theirs."""
        results = patiently(lambda: self.ledger.results(build.id, turn.attempt, len(build.steps)))
        made = [artifact for result in results.values() for artifact in result.artifacts]
        seed = next((result.seed for result in results.values() if result.seed), "")
        listed = [_listed(artifact) for artifact in made]
        ended = {"state": "succeeded", "seed": seed, "artifacts": listed}
        beside = [artifact for result in results.values() for artifact in result.beside]
        return self._put(turn, build, home, made, ended, beside)

    def record_failure(self, turn: Turn, build: Build, home: Path, error: StagefarmError) -> str:
        """Store the log and the record of a failed build; gives the folder's URL, empty if the
        store cannot take them, which must not hide why the build failed."""
        ended = {"state": "failed", "error": type(error).__name__, "reason": str(error)}
        try:
            return self._put(turn, build, home, [], ended)[0]
        except PackFailed:
            return ""

    def withdraw(self, turn: Turn, build: Build) -> None:
        self._store.withdraw(build, turn.attempt)

    @property
    def _store(self) -> FileStore:
        return FileStore.at(self.settings.store)

    def _put(
        self,
        turn: Turn,
        build: Build,
        home: Path,
        made: list[Artifact],
        ended: dict[str, Any],
        beside: Sequence[Artifact] = (),
    ) -> tuple[str, tuple[Artifact, ...]]:
        history = patiently(lambda: self.ledger.attempts(build.id))
        counted = {attempt.number for attempt in history if attempt.how in COUNTED}
        record = patiently(lambda: self.ledger.record(build.id))
        about = {
            "stagefarm": __version__,
            "attempt": turn.attempt,
            "host": turn.holder.host,
            "claimed_at": record.claimed,
            "ended_at": patiently(self.ledger.now),
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
        extras |= {artifact.name: Path(artifact.path) for artifact in beside}
        store = self._store
        store.sweep(build, turn.attempt, counted)
        artifacts = store.put(build, turn.attempt, turn.holder.host, made, extras)
        return store.folder(build, turn.attempt).as_uri(), artifacts


def _listed(artifact: Artifact) -> dict[str, str | int]:
    return {"name": artifact.name, "size_bytes": artifact.size_bytes, "sha256": artifact.sha256}
