"""The answers of the ledger, and who asks it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tasks.model import Checkpoint


class ClaimOutcome(StrEnum):
    CLAIMED = "claimed"
    STALE = "stale"
    REFUSED = "refused"


class BeginOutcome(StrEnum):
    RUN = "run"
    DONE = "done"
    CANCELLED = "cancelled"
    STALE = "stale"


class EndOutcome(StrEnum):
    """What came of telling the ledger that something ended."""

    OK = "ok"
    CANCELLED = "cancelled"
    STALE = "stale"


class RequeueOutcome(StrEnum):
    """What became of a build whose attempt was given up."""

    QUEUED = "queued"
    BLOCKED = "blocked"
    FAILED = "failed"
    CANCELLED = "cancelled"
    STALE = "stale"


class RepeatOutcome(StrEnum):
    """Whether a step whose process died may be done over."""

    OK = "ok"
    SPENT = "spent"
    STALE = "stale"


class CancelOutcome(StrEnum):
    CANCELLED = "cancelled"
    ASKED = "asked"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a claim: a host, and one life of the worker on it."""

    host: str
    incarnation: str


@dataclass(frozen=True, slots=True)
class ClaimedAttempt:
    """One attempt of one build, in the hands of one holder."""

    build: str
    attempt: int
    holder: Holder

    @property
    def args(self) -> tuple[str, int, str, str]:
        return self.build, self.attempt, self.holder.host, self.holder.incarnation


@dataclass(frozen=True, slots=True)
class Requeued:
    """A build whose attempt was given up: what became of it, and its attempt now."""

    build: str
    outcome: RequeueOutcome
    attempt: int


@dataclass(frozen=True, slots=True)
class Resume:
    """What an attempt goes on from, and whether a person asked for that."""

    checkpoint: Checkpoint
    asked: bool
