"""What a site shows: stages, what is published of them, and the builds that were tried."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from enum import StrEnum

from orchestrator.gate.holds import Hold
from orchestrator.release.catalog import Catalog, Stage
from tasks.model import BuildState

DUE_AT = 0.75
"""A stage that has lived so much of its time is due."""

TIME_MAX_S, SIZE_MAX_BYTES = 1e11, 2**62

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,150}")
_PRINT = re.compile(r"[0-9a-f]{16}")
_STRANGE = re.compile(r"[^A-Za-z0-9._+-]+")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class StageName:
    """Which stage it is, whatever its build. `release` tells apart channels of a release too."""

    release: str
    product: str
    variant: str = ""
    arch: str = ""
    subarch: str = ""

    @property
    def title(self) -> str:
        return f"{self.product} {self.variant}".rstrip()

    @property
    def queue(self) -> str:
        return ".".join(part for part in (self.arch, self.subarch) if part)

    @property
    def slug(self) -> str:
        """The name of its page: readable, and of no other stage."""
        readable = _STRANGE.sub("_", f"{self.title} {self.queue}".replace(" ", "-"))
        return f"{readable.strip('._-')[:100] or 'stage'}-{_digest(repr(self))[:10]}"


def page_name(build: str) -> str:
    """The name of a build's page; ids come from Redis, and may be anything."""
    return build if _NAME.fullmatch(build) else f"build-{_digest(repr(build))[:32]}"


def cause_page(fingerprint: str) -> str:
    """The name of a cause's page, empty for no cause; fingerprints come from Redis too."""
    known = not fingerprint or _PRINT.fullmatch(fingerprint)
    return fingerprint if known else f"cause-{_digest(repr(fingerprint))[:32]}"


def possible_time(seconds: float) -> float:
    """The time, 0 if it is none: before 1970, or long after all of us."""
    return seconds if 0 < seconds < TIME_MAX_S else 0.0


def possible_size(size_bytes: int) -> int:
    return min(max(size_bytes, 0), SIZE_MAX_BYTES)


class Freshness(StrEnum):
    """The age of what users can download against its contract, `max_age`."""

    FRESH = "fresh"
    DUE = "due"
    STALE = "stale"
    NEVER = "never published"
    UNBOUND = "no contract"


def freshness(built_at: float, max_age_s: float, now: float) -> Freshness:
    """`built_at` is 0 for what was never published, `max_age_s` is 0 where there is no contract."""
    if not built_at:
        return Freshness.NEVER
    if not max_age_s:
        return Freshness.UNBOUND
    age = now - built_at
    if age > max_age_s:
        return Freshness.STALE
    return Freshness.DUE if age >= DUE_AT * max_age_s else Freshness.FRESH


class Mark(StrEnum):
    """How the last attempt stands."""

    SUCCEEDED = "succeeded"
    RUNNING = "running"
    WAITING = "waiting"
    FAILED = "failed"
    CANCELLED = "cancelled"
    HELD = "held by the gate"
    NONE = "no build known"


MARKS = {
    BuildState.SUCCEEDED: Mark.SUCCEEDED,
    BuildState.FAILED: Mark.FAILED,
    BuildState.CANCELLED: Mark.CANCELLED,
    BuildState.RUNNING: Mark.RUNNING,
    BuildState.QUEUED: Mark.WAITING,
    BuildState.BLOCKED: Mark.WAITING,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """A build of the ledger. Times are in seconds since 1970, 0 if not set yet. `digest` changes
    with anything that its page shows. `cause` says why it failed, in words, and `fingerprint` is
    what like failures share; both are empty where nothing is known."""

    id: str
    job: str
    queue: str
    state: BuildState
    attempt: int
    digest: str
    stages: tuple[StageName, ...] = ()
    batch: str = ""
    host: str = ""
    submitted: float = 0.0
    claimed: float = 0.0
    ended: float = 0.0
    step: str = ""
    reason: str = ""
    gate: str = ""
    size_bytes: int = 0
    fingerprint: str = ""
    cause: str = ""

    @property
    def took_s(self) -> float:
        return max(0.0, self.ended - self.claimed) if self.claimed and self.ended else 0.0

    @property
    def mark(self) -> Mark:
        return Mark.HELD if self.gate and self.state is BuildState.SUCCEEDED else MARKS[self.state]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRow:
    """A host, and what is wrong with it, in words."""

    name: str
    state: str
    queues: tuple[str, ...] = ()
    slots: int = 0
    builds: tuple[str, ...] = ()
    troubles: tuple[str, ...] = ()
    version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRow:
    """A queue: how many builds wait and run in it, and the slots of hosts that are up."""

    name: str
    waiting: int
    running: int
    slots: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CauseCount:
    """A cause: how many builds failed for it, and the newest of them."""

    builds: int
    newest: Try


@dataclass(frozen=True, slots=True, kw_only=True)
class NightRow:
    """A batch, such as a night: when it began, when it ended (0 while builds go on), how many of
    its builds stand how, and some of those that failed."""

    name: str
    begun: float
    ended: float
    counts: tuple[tuple[Mark, int], ...]
    failed: tuple[Try, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownStage:
    """A stage that builds of the farm make: its contract in seconds, and its newest build.
    `history` changes with anything that is shown of its builds."""

    name: StageName
    max_age_s: float
    history: str
    last: Try


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A channel of a release as its mirror shows it: its catalog, None while nothing is published;
    the contract of each stage, and what its gate holds here."""

    title: str
    url: str
    catalog: Catalog | None
    contracts: dict[StageName, float] = field(default_factory=dict)
    offered: dict[StageName, tuple[Stage, ...]] = field(default_factory=dict)
    holds: dict[StageName, tuple[Hold, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageView:
    """One stage: its builds that users can download, newest first, and the last that was tried.
    `history` stands for all builds that were."""

    name: StageName
    max_age_s: float
    freshness: Freshness
    offered: tuple[Stage, ...] = ()
    holds: tuple[Hold, ...] = ()
    last: Try | None = None
    history: str = ""

    @property
    def built_at(self) -> float:
        return self.offered[0].built_at if self.offered else 0.0

    @property
    def until(self) -> float:
        """When the contract ends, 0 if it has none or nothing is published."""
        return self.built_at + self.max_age_s if self.built_at and self.max_age_s else 0.0

    @property
    def mark(self) -> Mark:
        held = {hold.build for hold in self.holds}
        if not self.last:
            return Mark.HELD if held else Mark.NONE
        if self.last.state is BuildState.SUCCEEDED and self.last.id in held:
            return Mark.HELD
        return self.last.mark


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
