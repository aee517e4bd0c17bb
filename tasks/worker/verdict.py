"""How an attempt ends on its host: what is decided (`judge`), and who is told in which order.

The order is always the same: the process tree is killed, the journal, the store and the ledger are
told, and only then the folder is removed (`tasks.worker.cleaning`), which can hold up nothing.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tasks.errors import (
    BuildCancelled,
    BuildFailed,
    CheckpointLost,
    FarmUnreachable,
    HookFailed,
    HostUnfit,
    PackFailed,
    SourceFailed,
    StagefarmError,
    Stale,
    StepKilled,
    of_system,
)
from tasks.host.process_tree import kill_tree
from tasks.ledger.answers import ClaimedAttempt, EndOutcome, Requeued, RequeueOutcome
from tasks.ledger.builds import Ledger
from tasks.model import Build
from tasks.settings import Settings
from tasks.worker.journal import Journal, Order
from tasks.worker.publisher import Publisher
from tasks.worker.refusals import Refusals

logger = logging.getLogger(__name__)

REPORT_IT = "please report it, with the log of the worker on that host"
NO_SPACE = re.compile("no space left|quota exceeded", re.IGNORECASE)
"""What is said of a full disk, also where what was half written is gone by now."""


class How(StrEnum):
    """How an attempt ends without success. Of these, `failed` alone is the job's own fault."""

    FAILED = "failed"
    CANCELLED = "cancelled"
    HANDED_BACK = "handed back"
    UNFIT = "unfit"
    LOST = "lost"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class Verdict:
    """How an attempt ends and the error that says why. `from_start`: the next attempt uses no
    checkpoint."""

    how: How
    error: StagefarmError
    from_start: bool = False


BY_ORDER: Mapping[Order, tuple[How, type[StagefarmError]]] = {
    Order.STALE: (How.STALE, Stale),
    Order.CANCEL: (How.CANCELLED, BuildCancelled),
    Order.HAND_BACK: (How.HANDED_BACK, Stale),
}
BY_ERROR: tuple[tuple[type[StagefarmError], How], ...] = (
    (Stale, How.STALE),
    (BuildCancelled, How.CANCELLED),
    (CheckpointLost, How.HANDED_BACK),
    (StepKilled, How.LOST),
    (HostUnfit, How.UNFIT),
    (StagefarmError, How.FAILED),
)


def judge(error: Exception, ordered: tuple[Order, str] | None, full: str = "") -> Verdict:
    """What is to be made of `error`, which ended a step: an order of the agent comes first. `full`
    says that the disk of this host is full, if it is."""
    if ordered:
        how, kind = BY_ORDER[ordered[0]]
        return Verdict(how, kind(ordered[1]))
    told = _whose_fault(error, full)
    how = next(how for kind, how in BY_ERROR if isinstance(told, kind))
    return Verdict(how, told, from_start=isinstance(told, CheckpointLost))


def _whose_fault(error: Exception, full: str) -> StagefarmError:
    """`error`, or `HostUnfit` where a full disk or the worker's own files are behind it."""
    if isinstance(error, OSError):  # what a step could not do comes as an error of ours
        return of_system(error)
    if isinstance(error, (HookFailed, PackFailed, SourceFailed)) and full:
        return HostUnfit(f"{error}: {full}")
    if isinstance(error, (PackFailed, SourceFailed)) and NO_SPACE.search(str(error)):
        return HostUnfit(str(error), error.hint)
    if isinstance(error, StagefarmError):
        return error
    return BuildFailed(f"stagefarm itself failed: {error!r}", REPORT_IT)


@dataclass(frozen=True, slots=True)
class Ending:
    """Carries verdicts out; `send` puts a build's messages to its queue."""

    settings: Settings
    ledger: Ledger
    refusals: Refusals
    send: Callable[[Build, int], None]

    def end(self, claim: ClaimedAttempt, home: Path, verdict: Verdict) -> StagefarmError:
        """End the attempt that lies in `home` and tell everybody but whoever cleans up; gives the
        error that says what became of it. Safe to repeat."""
        kill_tree(home)
        reason = str(verdict.error)
        match verdict.how:
            case How.FAILED:
                return self._fail(claim, home, verdict.error)
            case How.CANCELLED:
                return self._cancel(claim)
            case How.HANDED_BACK:
                self._requeue(self._hand_back(claim, reason, from_start=verdict.from_start))
                return Stale(f"handed back: {reason}")
            case How.UNFIT:
                self._refuse(claim, reason)
                return Stale(f"handed back, the host is unfit: {reason}")
            case How.LOST:
                logger.warning("%s.%s is lost: %s", claim.build, claim.attempt, reason)
                self._requeue(self.ledger.lose(claim, reason, self.settings.attempts_max))
                return Stale(f"lost: {reason}")
            case How.STALE:
                return verdict.error

    def _fail(self, claim: ClaimedAttempt, home: Path, error: StagefarmError) -> StagefarmError:
        Journal(home).failed(error)
        build = self.ledger.build_of(claim.build, claim.attempt)
        url = Publisher(self.settings, self.ledger).record_failure(claim, build, home, error)
        name, text, hint = type(error).__name__, str(error), error.hint
        match self.ledger.fail(claim, name, text, hint, url):
            case EndOutcome.CANCELLED:
                return self._cancel(claim)
            case EndOutcome.STALE:
                return Stale(f"attempt {claim.attempt} was taken over")
        return error

    def _cancel(self, claim: ClaimedAttempt) -> StagefarmError:
        self.ledger.cancelled(claim)
        return BuildCancelled(f"build {claim.build} was cancelled")

    def _hand_back(
        self, claim: ClaimedAttempt, reason: str, *, from_start: bool = False
    ) -> Requeued:
        return self.ledger.hand_back(
            claim, reason, self.settings.attempts_max, from_start=from_start
        )

    def _refuse(self, claim: ClaimedAttempt, reason: str) -> None:
        """Hand the build back, and take neither it nor others of its job for a while."""
        build = self.ledger.build_of(claim.build, claim.attempt)
        self.refusals.add(build.job, reason, tried=True)
        requeued = self._hand_back(claim, reason)
        if requeued.outcome is RequeueOutcome.QUEUED:
            self.ledger.refuse(claim.build, requeued.attempt, claim.holder.host, reason)
        self._requeue(requeued)

    def _requeue(self, requeued: Requeued) -> None:
        """Send the messages of the next attempt; what is not sent here, the supervisor sends."""
        if requeued.outcome is RequeueOutcome.QUEUED:
            with suppress(FarmUnreachable):
                self.send(self.ledger.build(requeued.build), requeued.attempt)
