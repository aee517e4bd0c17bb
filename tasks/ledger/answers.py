"""The answers of the ledger, and the identity of the caller."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tasks.results import Checkpoint


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
    """The answer to a report that something ended."""

    OK = "ok"
    CANCELLED = "cancelled"
    STALE = "stale"


class RequeueOutcome(StrEnum):
    """The state of a build after its attempt was given up."""

    QUEUED = "queued"
    BLOCKED = "blocked"
    FAILED = "failed"
    CANCELLED = "cancelled"
    STALE = "stale"


class RepeatOutcome(StrEnum):
    """Whether a step whose process died may be repeated."""

    OK = "ok"
    SPENT = "spent"
    STALE = "stale"


class CancelOutcome(StrEnum):
    CANCELLED = "cancelled"
    ASKED = "asked"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Holder:
    """The holder of a claim: a host, and one incarnation of its worker."""

    host: str
    incarnation: str


@dataclass(frozen=True, slots=True)
class ClaimedAttempt:
    """One attempt of one build, claimed by one holder."""

    build: str
    attempt: int
    holder: Holder

    @property
    def args(self) -> tuple[str, int, str, str]:
        return self.build, self.attempt, self.holder.host, self.holder.incarnation


@dataclass(frozen=True, slots=True)
class Requeued:
    """A build whose attempt was given up: the outcome, and its current attempt."""

    build: str
    outcome: RequeueOutcome
    attempt: int


@dataclass(frozen=True, slots=True)
class Resume:
    """The checkpoint an attempt resumes from, and whether a user asked for that."""

    checkpoint: Checkpoint
    asked: bool
