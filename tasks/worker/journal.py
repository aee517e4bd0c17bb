"""The journal of one attempt on its host: what must be kept even while Redis is unreachable.

`journal.jsonl` in the build's home has one entry per line: the begin of a step; its end with its
result, or the failure of the build, both written and synced before they go to the ledger; and the
agent's order to end the build, so that the step whose tree is killed knows why.

What a host publishes and signs comes from here, never from what the ledger says of earlier steps.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import msgspec

from tasks.errors import StagefarmError
from tasks.model import encode
from tasks.results import NO_ORIGIN, SeedOrigin, StepResult
from tasks.step.protocol import Failure


class Order(StrEnum):
    """Why the agent ends a build's tree."""

    CANCEL = "cancel"
    STALE = "stale"
    HAND_BACK = "hand back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Either `begun`, the number of a step, or `step` and `result`, or `failure`, or `order` and
    `reason`."""

    begun: int = -1
    step: int = -1
    result: StepResult | None = None
    failure: Failure | None = None
    order: Order | None = None
    reason: str = ""


class Journal:
    """The journal in the build's home folder `home`."""

    def __init__(self, home: Path) -> None:
        self.file = home / "journal.jsonl"

    def step_begun(self, step: int) -> None:
        self._write(Entry(begun=step))

    def step_ended(self, step: int, result: StepResult) -> None:
        self._write(Entry(step=step, result=result))

    def failed(self, error: StagefarmError) -> None:
        self._write(Entry(failure=Failure.of(error)))

    def order(self, order: Order, reason: str) -> None:
        self._write(Entry(order=order, reason=reason))

    def has_begun(self, step: int) -> bool:
        return any(entry.begun == step for entry in self._read())

    def results(self) -> dict[int, StepResult]:
        """The results of the steps that ended, by step number."""
        return {entry.step: entry.result for entry in self._read() if entry.result}

    def seed(self) -> tuple[str, SeedOrigin]:
        """The digest of the seed that the build started from, also if it resumed from a checkpoint,
        and where it came from; empty if there is none."""
        for result in self.results().values():
            if result.seed:
                return result.seed, result.origin
            if result.checkpoint and result.checkpoint.seed:
                return result.checkpoint.seed, result.checkpoint.origin
        return "", NO_ORIGIN

    def result(self, step: int) -> StepResult | None:
        """The result of `step`, or None if it did not end."""
        return next((entry.result for entry in self._read() if entry.step == step), None)

    def failure(self) -> StagefarmError | None:
        """Why the build failed, or None if it did not."""
        failures = (entry.failure for entry in self._read() if entry.failure)
        return next((failure.error() for failure in failures), None)

    def ordered(self) -> tuple[Order, str] | None:
        """The first order, or None."""
        orders = ((entry.order, entry.reason) for entry in self._read() if entry.order)
        return next(orders, None)

    def _write(self, entry: Entry) -> None:
        with (
            suppress(OSError),
            self.file.open("ab") as file,
        ):  # a full disk: the ledger is told anyway
            file.write(b"\n" + encode(entry) + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _read(self) -> list[Entry]:
        """Every complete entry; a line truncated by a full disk is skipped."""
        with suppress(OSError):
            lines = self.file.read_bytes().splitlines()
            return [entry for line in lines if (entry := _entry(line))]
        return []


def _entry(line: bytes) -> Entry | None:
    with suppress(msgspec.DecodeError):
        return msgspec.json.decode(line, type=Entry)
    return None
