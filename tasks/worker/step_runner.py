"""Handles one message in a process of the worker's pool: claim, begin, run, end.

Nothing here depends on Celery. Each change goes through the ledger, which alone decides whether the
step may run; a step whose attempt is no longer the build's raises `Stale`, and its message is
dropped.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn
from uuid import uuid4

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_delay,
    wait_exponential,
)

from tasks.errors import (
    BadInput,
    BuildCancelled,
    HostUnfit,
    PackFailed,
    StagefarmError,
    Stale,
    StepKilled,
    Untrusted,
)
from tasks.host.locks import try_lock_folder
from tasks.ledger.answers import BeginOutcome, ClaimedAttempt, ClaimOutcome, EndOutcome, Holder
from tasks.ledger.builds import Ledger
from tasks.metering import Meter
from tasks.model import Build, BuildState, StepKind
from tasks.reporting import Line, Report
from tasks.results import Artifact
from tasks.rootfs.workspace import Workspace
from tasks.settings import Settings
from tasks.store.opening import open_store
from tasks.trust.builds import NAME, Job
from tasks.trust.policy import host_key
from tasks.worker.cleaning import remove_home
from tasks.worker.fitness import disk_full, unfit, unfit_for
from tasks.worker.jobs import keep_job, kept_job, verified_job
from tasks.worker.performer import Performer, counted, require_step_before
from tasks.worker.publisher import Publisher
from tasks.worker.refusals import Refusals
from tasks.worker.verdict import Ending, How, Verdict, judge
from tasks.worker.work import Work

logger = logging.getLogger(__name__)

STORE_PAUSE_MAX_S = 5.0

BEFORE_MAX = 20
"""So many builds that come before the one of a message are tried."""

Send = Callable[[Build, int], None]
"""Sends the messages of a build's attempt to the build's queue."""


def require_valid(build: object, attempt: object) -> None:
    """Messages come from Redis: `Stale` for one whose words would make a path elsewhere."""
    is_name = isinstance(build, str) and NAME.fullmatch(build)
    if not is_name or not isinstance(attempt, int) or attempt < 1:
        raise Stale(f"not a message of a build: {build!r}, {attempt!r}")


@dataclass(frozen=True, slots=True)
class StepRunner:
    """One process of a worker's pool, which serves `queues`. `send` sends at once; `send_later`
    leaves it to the agent's next pass, so that a message does not loop between Redis and this host;
    `send_here` sends to this host's own queue; `take_nothing_new` stops the host from taking new
    builds for now."""

    settings: Settings
    ledger: Ledger
    holder: Holder
    queues: tuple[str, ...]
    refusals: Refusals
    send: Send
    send_later: Send
    send_here: Send
    take_nothing_new: Callable[[], None]

    def do(self, build_id: str, attempt: int, step: int) -> str:
        """Handle one message; returns a word for the log. Raises `Stale` if there is nothing to do
        and the later messages of the chain have to be dropped, or the error that failed the
        build."""
        require_valid(build_id, attempt)
        claim = ClaimedAttempt(build_id, attempt, self.holder)
        job = self._claimed(claim) if step == 0 else self._kept(claim)
        if step not in range(len(job.build.steps)):
            raise Stale(f"{build_id} has no step {step}")
        work = Work(claim, job, step, Workspace.on_farm(job.build, attempt, self.settings))
        with self._home(work):
            if not self._begin(work):
                return "done before"
            try:
                said = self._carry_out(work)
            except Exception as error:
                self._end(work, self._judge(work, error))
            if work.step.kind is StepKind.PUBLISH:
                self._tidy_up(work)
            return said

    def _kept(self, claim: ClaimedAttempt) -> Job:
        """The job that this host claimed."""
        home = Workspace.home_on_farm(claim.build, claim.attempt, self.settings)
        if not home.exists():
            raise Stale(f"attempt {claim.attempt} has no folder on this host")
        try:
            return kept_job(home)
        except HostUnfit as error:
            raise self._ending.end(claim, home, Verdict(How.UNFIT, error)) from error

    # Claiming

    def _claimed(self, claim: ClaimedAttempt) -> Job:
        """Verify the job of the message, then claim it, or one that comes before it. What must not
        be built here is refused; the supervisor offers it to other hosts."""
        job = self._verified(claim)
        if not self._is_ours(claim):
            self._look_before_claim(claim, job.build)
        match self.ledger.claim(claim, self.settings.lease_s):
            case ClaimOutcome.REFUSED:
                self.take_nothing_new()
                self._refuse(claim, job.build, "it is drained", self.send)
            case ClaimOutcome.STALE:
                raise Stale(f"attempt {claim.attempt} is not waiting to be claimed")
        return job

    def _is_ours(self, claim: ClaimedAttempt) -> bool:
        """Whether this host claimed the build by the message of another one, as it seems."""
        record = self.ledger.record(claim.build)
        return record.state is BuildState.RUNNING and record.host == self.holder.host

    def _look_before_claim(self, claim: ClaimedAttempt, build: Build) -> None:
        """Raises `Stale` unless this host can do the build, and none comes before it. Only a reason
        that holds for every build closes the intake."""
        if reason := unfit(self.settings):
            self.take_nothing_new()
            self._refuse(claim, build, reason, self.send)
        self._claim_before(claim, build)
        if reason := self._objection(build):
            self._refuse(claim, build, reason, self.send_later)

    def _verified(self, claim: ClaimedAttempt) -> Job:
        try:
            return verified_job(self.ledger, self.settings, claim.build, self.queues)
        except (HostUnfit, Untrusted) as error:
            reason = f"{error}; {error.hint}" if error.hint else str(error)
            self.ledger.refuse(claim.build, claim.attempt, self.holder.host, reason)
            raise Stale(f"refused: {reason}") from error

    def _objection(self, build: Build) -> str:
        """Why this host does not take the build now, though it takes others; empty if it does."""
        if build.not_by and build.not_by == str(host_key(self.settings).public):
            return "it repeats a build of this host, and is for another one"
        if reason := self.refusals.reason(build.job):
            return reason
        if reason := unfit_for(build):
            self.refusals.add(build.job, reason, tried=False)
        return reason

    def _claim_before(self, claim: ClaimedAttempt, build: Build) -> None:
        """Claim the first build of the queue that comes before that of the message and that this
        host can build. It goes on with messages of its own, and that of `build` goes back to its
        queue: so every build that waits has its message there."""
        for other in self.ledger.ranked_before(claim, BEFORE_MAX):
            if first := self._taken(other):
                self.send_here(first, other.attempt)
                self.send(build, claim.attempt)
                raise Stale(f"{first.id} comes before it")

    def _taken(self, claim: ClaimedAttempt) -> Build | None:
        """The build of `claim` if it was claimed; None if another host has it, or this one may not
        build it. Its message stays in the queue for others."""
        try:
            require_valid(claim.build, claim.attempt)
            build = self._verified(claim).build
        except (Stale, BadInput):  # refused, or no build at all
            return None
        if reason := self._objection(build):
            self.ledger.refuse(claim.build, claim.attempt, self.holder.host, reason)
            return None
        got = self.ledger.claim(claim, self.settings.lease_s)
        return build if got is ClaimOutcome.CLAIMED else None

    def _refuse(self, claim: ClaimedAttempt, build: Build, reason: str, send: Send) -> NoReturn:
        """Refuse the build and send it for other hosts, if it is still queued."""
        if self.ledger.refuse(build.id, claim.attempt, self.holder.host, reason):
            send(build, claim.attempt)
        raise Stale(f"refused: {reason}")

    # One step

    @contextmanager
    def _home(self, work: Work) -> Iterator[None]:
        """Lock the attempt's folder, which the first step creates. A second message of the same
        attempt may be handled by another process of this host at the same time."""
        if work.number == 0:
            self._or_unfit(work, work.workspace.create)
        elif not work.home.exists():
            raise Stale(f"attempt {work.claim.attempt} has no folder on this host")
        with try_lock_folder(work.home) as mine:
            if not mine:
                raise Stale("another message of this attempt is being handled")
            if work.number == 0:
                self._or_unfit(work, lambda: keep_job(work.home, work.job))
            yield

    def _or_unfit(self, work: Work, prepare: Callable[[], None]) -> None:
        try:
            prepare()
        except HostUnfit as error:
            self._end(work, Verdict(How.UNFIT, error))

    def _begin(self, work: Work) -> bool:
        """Whether the step has to run; False if it has already ended."""
        match self.ledger.begin_step(work.claim, work.number, uuid4().hex):
            case BeginOutcome.STALE:
                raise Stale(f"step {work.number} of attempt {work.claim.attempt} must not run now")
            case BeginOutcome.CANCELLED:
                self._end(work, Verdict(How.CANCELLED, BuildCancelled("asked for")))
            case BeginOutcome.DONE:
                return False
        return not self._was_done(work)

    def _was_done(self, work: Work) -> bool:
        """Whether the step ended before, or must not run again whatever the ledger says."""
        if result := work.journal.result(work.number):
            self.ledger.end_step(work.claim, work.number, result)
            return True
        if work.journal.ordered() or work.journal.failure():
            raise Stale(f"attempt {work.claim.attempt} was ended on this host")
        if work.journal.has_begun(work.number) and not work.is_repeatable:
            lost = StepKilled(f"step {work.number} had begun before, and did not end")
            self._end(work, Verdict(How.LOST, lost))
        work.journal.step_begun(work.number)
        return False

    def _carry_out(self, work: Work) -> str:
        if work.step.kind is StepKind.PUBLISH:
            return self._publish(work)
        result = self._performer.perform(work)
        work.journal.step_ended(work.number, result)
        if self.ledger.end_step(work.claim, work.number, result) is EndOutcome.STALE:
            self._performer.drop(work, result)
            raise Stale(f"attempt {work.claim.attempt} was taken over")
        return "done"

    def _publish(self, work: Work) -> str:
        require_step_before(work)
        self._performer.note(work, work.opening)
        publisher = Publisher(self.settings, self.ledger)
        try:
            url, artifacts = self._put(publisher, work)
        except (Stale, PackFailed):
            self._withdraw(publisher, work)
            raise
        match self.ledger.finish(work.claim, artifacts, url):
            case EndOutcome.CANCELLED:
                publisher.withdraw(work.claim, work.build)
                raise BuildCancelled(f"build {work.build.id} was cancelled")
            case EndOutcome.STALE:
                publisher.withdraw(work.claim, work.build)
                raise Stale(f"attempt {work.claim.attempt} was taken over")
        return url

    def _withdraw(self, publisher: Publisher, work: Work) -> None:
        """Remove what was stored of an attempt that is at its end; after other errors the next
        attempt does it."""
        try:
            publisher.withdraw(work.claim, work.build)
        except StagefarmError as error:
            logger.warning("left in the store: %s", error)

    def _put(self, publisher: Publisher, work: Work) -> tuple[str, tuple[Artifact, ...]]:
        """Copy the artifacts to the store. The expensive work is done by now, so a store that
        cannot take them is retried for `store_wait_s`."""

        too_long = stop_after_delay(self.settings.store_wait_s)
        tries = Retrying(
            retry=retry_if_exception_type((HostUnfit, OSError)),
            wait=wait_exponential(multiplier=0.5, max=STORE_PAUSE_MAX_S),
            stop=lambda state: too_long(state) or work.journal.ordered() is not None,
            reraise=True,
        )
        with self._performer.log(work) as report:

            def say(state: RetryCallState) -> None:
                if state.outcome and state.attempt_number == 1:
                    report.line(Line(text=f"{state.outcome.exception()}; trying again"))

            return tries.copy(before_sleep=say)(self._put_once, publisher, work, report)

    def _put_once(
        self, publisher: Publisher, work: Work, report: Report
    ) -> tuple[str, tuple[Artifact, ...]]:
        results = work.journal.results().values()
        total = sum(one.size_bytes for result in results for one in result.artifacts)
        meter = Meter(report, "upload", total=total)
        stored = publisher.put(work.claim, work.job, work.home, counted(meter, work))
        meter.finish()
        return stored

    # The end of an attempt

    def _judge(self, work: Work, error: Exception) -> Verdict:
        verdict = judge(error, work.journal.ordered(), disk_full(self.settings.state))
        if not isinstance(error, (StagefarmError, OSError)):
            logger.error("stagefarm itself failed in %s", work.build.id, exc_info=error)
        return verdict

    def _end(self, work: Work, verdict: Verdict) -> NoReturn:
        """Record the verdict, then remove the folder."""
        error = self._ending.end(work.claim, work.home, verdict)
        self._clean(work)
        raise error

    def _tidy_up(self, work: Work) -> None:
        """Follow-up work of a build that succeeded; no error here changes that."""
        duties = (self._send_followers, self._is_fit, self._clean, self._drop_checkpoints)
        for duty in duties:
            try:
                duty(work)
            except Exception:
                logger.exception("%s has succeeded; an error occurred afterwards", work.build.id)

    def _send_followers(self, work: Work) -> None:
        """Send the builds that were blocked by this one and are queued now; the supervisor sends
        those that are missed here."""
        for record in self.ledger.followers(work.build.id):
            if record.state is BuildState.QUEUED:
                self.send(self.ledger.build(record.id), record.attempt)

    def _is_fit(self, work: Work) -> None:
        self.refusals.end(work.build.job)

    def _clean(self, work: Work) -> None:
        """Remove the folder if possible; otherwise the agent tries again."""
        if reason := remove_home(work.home):
            logger.warning("%s; trying again later", reason)

    def _drop_checkpoints(self, work: Work) -> None:
        open_store(self.settings).drop_checkpoints(work.build)

    @property
    def _ending(self) -> Ending:
        return Ending(self.settings, self.ledger, self.refusals, self.send)

    @property
    def _performer(self) -> Performer:
        return Performer(self.settings, self.ledger)
