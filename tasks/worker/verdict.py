"""How an attempt ends on its host: the decision (`judge`) and the order in which it is recorded.

The order is always the same: the process tree is killed; the verdict goes to the journal; the cause
of a failure is read, within limits of time (`tasks.causes.launcher`); both go to the store and the
ledger; then the folder is removed (`tasks.worker.cleaning`), which delays nothing else.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tasks.causes.launcher import cause_of
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
    Untrusted,
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
"""Messages about a full disk, which count even if it has free space again by now."""


class How(StrEnum):
    """How an attempt ends without success. Only `failed` is caused by the job."""

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
    (Untrusted, How.UNFIT),
    (StagefarmError, How.FAILED),
)


def judge(error: Exception, ordered: tuple[Order, str] | None, full: str = "") -> Verdict:
    """The verdict on `error`, which ended a step; an order of the agent takes precedence. `full` is
    the message that the disk of this host is full, empty if it is not."""
    if ordered:
        how, kind = BY_ORDER[ordered[0]]
        return Verdict(how, kind(ordered[1]))
    told = _whose_fault(error, full)
    how = next(how for kind, how in BY_ERROR if isinstance(told, kind))
    return Verdict(how, told, from_start=isinstance(told, CheckpointLost))


def _whose_fault(error: Exception, full: str) -> StagefarmError:
    """`error`, or `HostUnfit` if a full disk or the worker's own files caused it."""
    if isinstance(error, OSError):  # errors inside a step arrive as StagefarmError
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
    """Carries out verdicts; `send` sends a build's messages to its queue."""

    settings: Settings
    ledger: Ledger
    refusals: Refusals
    send: Callable[[Build, int], None]

    def end(self, claim: ClaimedAttempt, home: Path, verdict: Verdict) -> StagefarmError:
        """End the attempt in `home` and record it everywhere; the folder is left to the caller.
        Returns the error that says how it ended. Safe to repeat."""
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
        name, text, hint = type(error).__name__, str(error), error.hint
        rules = self.settings.cause_rules_dir
        cause = cause_of(home / "build.log", rules, error=name, reason=text)
        url = Publisher(self.settings, self.ledger).record_failure(claim, home, error, cause)
        match self.ledger.fail(claim, name, text, hint, url, cause):
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
        """Hand the build back, and refuse all builds of its job for a while."""
        self.refusals.add(self.ledger.record(claim.build).job, reason, tried=True)
        requeued = self._hand_back(claim, reason)
        if requeued.outcome is RequeueOutcome.QUEUED:
            self.ledger.refuse(claim.build, requeued.attempt, claim.holder.host, reason)
        self._requeue(requeued)

    def _requeue(self, requeued: Requeued) -> None:
        """Send the messages of the next attempt; if that fails, the supervisor sends them."""
        if requeued.outcome is RequeueOutcome.QUEUED:
            with suppress(FarmUnreachable):
                self.send(self.ledger.build(requeued.build), requeued.attempt)
