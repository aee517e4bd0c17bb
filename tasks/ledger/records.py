"""The ledger's records of builds, as frozen values parsed from Redis's strings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import msgspec

from tasks.ledger.stages import LeftOut
from tasks.model import BuildState, decode
from tasks.results import Artifact, Cause, SecondTry


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One build; times in seconds since 1970 on Redis's clock, 0 if not set yet; `step` is the one
    begun last, -1 before the first. `gate` is what a publisher says of it, a hint only; `cause`
    what the log of its newest attempt says, if that failed."""

    id: str
    job: str
    queue: str
    state: BuildState
    attempt: int
    batch: str = ""
    variant: str = ""
    after: str = ""
    rebuild_of: str = ""
    optional: bool = False
    titles: tuple[str, ...]
    host: str = ""
    step: int = -1
    submitted: float = 0.0
    queued: float = 0.0
    claimed: float = 0.0
    step_began: float = 0.0
    step_ended: float = 0.0
    ended: float = 0.0
    progress: str = ""
    cancel: str = ""
    error: str = ""
    reason: str = ""
    hint: str = ""
    url: str = ""
    artifacts: tuple[Artifact, ...] = ()
    gate: str = ""
    cause: Cause | None = None
    second_after: int = 0
    second_try: SecondTry | None = None

    @property
    def step_title(self) -> str:
        return self.titles[self.step] if 0 <= self.step < len(self.titles) else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """How one attempt ended, and where: `how` is a final state, `lost` or `handed back`; `url` is
    its folder in the store; `fingerprint` is that of its cause, if it failed and a rule knew it."""

    number: int
    how: str
    host: str = ""
    step: int = -1
    claimed: float = 0.0
    ended: float = 0.0
    reason: str = ""
    url: str = ""
    fingerprint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One batch: when it was submitted, how many of its builds are in each state, and which of its
    stages it does not build."""

    batch: str
    submitted: float
    counts: dict[BuildState, int]
    left_out: tuple[LeftOut, ...] = ()


FIELDS = tuple(field.name for field in fields(Record) if field.name != "id")
"""The fields of a build's hash that `to_record` takes, in this order."""


def to_record(build: str, values: Sequence[str | None]) -> Record:
    """The record in a build's hash, whose fields are text, empty if not set yet."""
    found: dict[str, object] = {
        name: text for name, text in zip(FIELDS, values, strict=True) if text
    }
    for name in ("titles", "artifacts"):
        found[name] = json.loads(str(found.get(name, "[]")))
    for name in ("cause", "second_try"):
        found[name] = json.loads(str(found.get(name, "null")))
    return msgspec.convert({**found, "id": build}, Record, strict=False)


def to_summary(batch: str, submitted: float | None, counts: dict[str, str]) -> Summary:
    found = {state: int(counts.get(state, 0)) for state in BuildState}
    some = {state: count for state, count in found.items() if count}
    gone = decode(counts.get("left_out", "[]"), tuple[LeftOut, ...])
    return Summary(batch=batch, submitted=submitted or 0.0, counts=some, left_out=gone)


def step_fields(attempt: int, steps: int) -> list[str]:
    """The fields that say when each step of an attempt began and ended; `to_times` reads them."""
    return [f"{attempt}.{step}.{what}" for step in range(steps) for what in ("began", "ended")]


def to_times(values: Sequence[str | None]) -> list[tuple[float, float]]:
    times = [float(time or 0) for time in values]
    return list(zip(times[::2], times[1::2], strict=True))


def to_attempts(fields: Mapping[str, str]) -> list[Attempt]:
    """The attempts in a build's hash, the first one first."""
    found = (to_attempt(int(number), data) for number, data in fields.items())
    return sorted(found, key=lambda attempt: attempt.number)


def to_attempt(number: int, text: str) -> Attempt:
    values = {name: value for name, value in json.loads(text).items() if value}
    return msgspec.convert({**values, "number": number}, Attempt, strict=False)
