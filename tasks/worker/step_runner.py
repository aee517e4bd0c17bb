"""What a worker's process does with one message: claim, begin, carry out, end, publish.

Nothing here knows Celery. Each change goes through the ledger, which alone decides whether the step
may run; a step whose attempt is no longer the build's raises `Stale`, and its message is dropped.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn
from uuid import uuid4

from tasks.artifacts import context_bundle
from tasks.artifacts.fingerprint import lineage
from tasks.artifacts.store import FileStore, file_of
from tasks.errors import (
    BuildCancelled,
    BuildFailed,
    CheckpointLost,
    FarmUnreachable,
    HostUnfit,
    SourceFailed,
    StagefarmError,
    Stale,
    TimedOut,
)
from tasks.host.locks import try_lock_folder
from tasks.host.process_tree import kill_tree
from tasks.ledger.answers import (
    BeginOutcome,
    ClaimedAttempt,
    ClaimOutcome,
    EndOutcome,
    Holder,
    Requeued,
    RequeueOutcome,
    Resume,
)
from tasks.ledger.builds import Ledger
from tasks.ledger.logs import Logbook, Page
from tasks.model import Build, BuildState, Checkpoint, Line, StepKind, StepResult
from tasks.rootfs.workspace import Workspace
from tasks.settings import Settings
from tasks.step.launcher import perform
from tasks.step.protocol import Restore
from tasks.worker.build_log import BuildLog, LogFile
from tasks.worker.fitness import unfit
from tasks.worker.journal import Journal, Order
from tasks.worker.publisher import Publisher

logger = logging.getLogger(__name__)
DAY_S = 24 * 3600.0
REPORT_IT = "please report it, with the log of the worker on that host"


@dataclass(frozen=True, slots=True)
class Work:
    """One step of one attempt, and the places it uses."""

    claim: ClaimedAttempt
    build: Build
    step: int
    workspace: Workspace

    @property
    def home(self) -> Path:
        return Path(self.workspace.home)

    @property
    def journal(self) -> Journal:
        return Journal(self.home)


@dataclass(frozen=True, slots=True)
class StepRunner:
    """One process of a worker's pool; `send` puts a build's messages to its queue,
    `take_nothing_new` stops the host from taking new builds for now."""

    settings: Settings
    ledger: Ledger
    holder: Holder
    send: Callable[[Build, int], None]
    take_nothing_new: Callable[[], None]

    def do(self, build_id: str, attempt: int, step: int) -> str:
        """Carry out one message; gives a word for the log. Raises `Stale` where there is nothing
        to do and the messages after it are to be dropped, and what made the build fail."""
        claim = ClaimedAttempt(build_id, attempt, self.holder)
        build = self._build(claim)
        if step == 0:
            self._claim(claim, build)
        work = Work(claim, build, step, Workspace.on_farm(build, attempt, self.settings))
        if step > 0 and not work.home.exists():
            raise Stale(f"nothing of attempt {attempt} is on this host")
        try:
            work.workspace.create()
        except StagefarmError as error:
            self._failed(work, error)
        with try_lock_folder(work.home) as mine:
            if not mine:
                raise Stale("another message for this step came first")
            return self._begin(work)

    def _build(self, claim: ClaimedAttempt) -> Build:
        """The build of the message; one that this version cannot read is left to other hosts."""
        try:
            return self.ledger.build_of(claim.build, claim.attempt)
        except HostUnfit as error:
            reason = f"{error}; {error.hint}"
            self.ledger.refuse(claim.build, claim.attempt, self.holder.host, reason)
            raise

    def _claim(self, claim: ClaimedAttempt, build: Build) -> None:
        if reason := unfit(self.settings):
            self._refuse(claim, build, reason)
        match self.ledger.claim(claim, self.settings.lease_s):
            case ClaimOutcome.REFUSED:
                self._refuse(claim, build, "it is drained")
            case ClaimOutcome.STALE:
                raise Stale(f"attempt {claim.attempt} is not waiting to be claimed")

    def _refuse(self, claim: ClaimedAttempt, build: Build, reason: str) -> NoReturn:
        self.take_nothing_new()
        self.ledger.refuse(build.id, claim.attempt, self.holder.host, reason)
        self.send(build, claim.attempt)
        raise Stale(f"refused: {reason}")

    def _begin(self, work: Work) -> str:
        token = uuid4().hex
        match self.ledger.begin_step(work.claim, work.step, token):
            case BeginOutcome.DONE:
                return "done before"
            case BeginOutcome.STALE:
                raise Stale(
                    f"step {work.step} of attempt {work.claim.attempt} is not to be run now"
                )
            case BeginOutcome.CANCELLED:
                self._cancelled(work)
        try:
            return self._carry_out(work)
        except (Stale, BuildCancelled):
            raise
        except StagefarmError as error:
            self._failed(work, error)
        except OSError as error:  # such as a full disk, on our own files
            self._failed(work, BuildFailed(f"{self.holder.host}: {error}"))
        except Exception as error:  # a fault of ours fails the build once, with its name
            logger.exception("%s failed for no fault of its own", work.build.id)
            self._failed(work, BuildFailed(f"stagefarm itself failed: {error!r}", REPORT_IT))

    def _carry_out(self, work: Work) -> str:
        page = Page(work.build.id, work.claim.attempt, work.step)
        log = LogFile(work.home / "build.log", self.settings.log_file_limit_bytes)
        with BuildLog(
            Logbook(self.ledger.connection), log, page, self.settings.log_limit_lines
        ) as report:
            report.line(Line(text=f"{work.build.steps[work.step].title} on {self.holder.host}"))
            if work.build.steps[work.step].kind is not StepKind.PUBLISH:
                result = self._perform(work, report)
        if work.build.steps[work.step].kind is StepKind.PUBLISH:
            return self._publish(work)
        work.journal.step_ended(work.step, result)
        if self.ledger.end_step(work.claim, work.step, result) is EndOutcome.STALE:
            self._drop(result, work)
            self._stale(work)
        return "done"

    def _perform(self, work: Work, report: BuildLog) -> StepResult:
        resume = self.ledger.resume(work.build.id, work.claim.attempt)
        if resume and resume.checkpoint.step == work.step:
            self._bring_context(work)
            return self._restore(work, resume, report)
        if work.step == 0:
            self._bring_context(work)
        if work.build.after and work.build.steps[work.step].kind is StepKind.SOURCE:
            work = replace(work, build=self._from_store(work.build))
        result = self._in_namespaces(work, report)
        if not work.build.steps[work.step].checkpoint:
            return result
        return replace(result, checkpoint=self._keep(work, report))

    def _from_store(self, build: Build) -> Build:
        """`build`, with the tarball of the build it comes after as its source."""
        source = build.source
        name = Path(source.path).name
        for artifact in self.ledger.artifacts(build.after):
            if artifact.name == name:
                path, sha256 = str(file_of(artifact.path)), source.sha256 or artifact.sha256
                return replace(build, source=replace(source, path=path, sha256=sha256))
        raise SourceFailed(f"{build.after} has left no {name} to start from")

    def _bring_context(self, work: Work) -> None:
        if digest := work.build.context:
            data = self.ledger.context(digest)
            context_bundle.unpack(data, digest, Path(work.workspace.working_dir))

    def _in_namespaces(
        self, work: Work, report: BuildLog, keep_in: str = "", restore: Restore | None = None
    ) -> StepResult:
        return perform(
            work.build,
            work.step,
            work.workspace,
            report,
            idle_limit_s=self.settings.idle_limit_s,
            timeout_s=self._left(work),
            pids_max=self.settings.pids_max,
            keep_in=keep_in,
            restore=restore,
        )

    def _keep(self, work: Work, report: BuildLog) -> Checkpoint | None:
        """Bring the state after the step to the store. That it cannot be is no reason to fail a
        build that goes well."""
        here = (work.build, work.claim.attempt, work.step)
        try:
            self._store.sweep_checkpoints(self.settings.keep_days * DAY_S)
            with self._store.new_checkpoint(*here, self.holder.host) as folder:
                kept = self._in_namespaces(work, report, keep_in=str(folder)).artifacts
        except StagefarmError as error:
            if work.journal.ordered():
                raise
            report.line(Line(text=f"no checkpoint of this step: {error}"))
            return None
        report.line(Line(text=f"checkpoint of this step: {kept[0].size_bytes:,} bytes"))
        rootfs, workspace = kept
        return Checkpoint(
            attempt=work.claim.attempt,
            step=work.step,
            lineage=lineage(work.build, work.step),
            rootfs=rootfs,
            workspace=workspace,
        )

    def _restore(self, work: Work, resume: Resume, report: BuildLog) -> StepResult:
        kept = resume.checkpoint
        folder = self._store.checkpoint(work.build, kept.attempt, kept.step)
        report.line(Line(text=f"resuming from what attempt {kept.attempt} left of this step"))
        try:
            if not folder.is_dir():
                raise SourceFailed(f"it is not in the store: {folder}")
            restore = Restore(checkpoint=kept, folder=str(folder))
            return self._in_namespaces(work, report, restore=restore)
        except SourceFailed as error:
            text = f"cannot resume after step {work.step + 1}: {error}"
            if resume.asked:
                hint = "stagefarm retry, without --from, builds from the beginning"
                raise SourceFailed(text, hint) from error
            raise CheckpointLost(text) from error

    def _drop(self, result: StepResult, work: Work) -> None:
        """Take the checkpoint of a step that does not count out of the store."""
        kept = result.checkpoint
        if kept and kept.attempt == work.claim.attempt:
            self._store.drop_checkpoint(work.build, kept.attempt, kept.step)

    @property
    def _store(self) -> FileStore:
        return FileStore.at(self.settings.store)

    def _left(self, work: Work) -> float:
        """Seconds left of the build's time limit, 0 for no limit."""
        if not (limit := work.build.timeout_s):
            return 0.0
        since = self.ledger.record(work.build.id).claimed
        left = since + limit - self.ledger.now()
        if left <= 0:
            raise TimedOut(f"the build took longer than its limit of {limit:g} s")
        return left

    def _publish(self, work: Work) -> str:
        publisher = Publisher(self.settings, self.ledger)
        url, artifacts = publisher.put(work.claim, work.build, work.home)
        match self.ledger.finish(work.claim, artifacts, url):
            case EndOutcome.CANCELLED:
                publisher.withdraw(work.claim, work.build)
                self._cancelled(work)
            case EndOutcome.STALE:
                publisher.withdraw(work.claim, work.build)
                self._stale(work)
        self._send_followers(work.build)
        self._wipe(work)  # only now: a host that dies before has all it needs to publish again
        with suppress(OSError, StagefarmError):  # the build has succeeded, whatever the store says
            self._store.drop_checkpoints(work.build)
        return url

    def _send_followers(self, build: Build) -> None:
        """The builds that were blocked by this one are queued now; what is not sent here, the
        supervisor sends."""
        with suppress(FarmUnreachable):
            for record in self.ledger.followers(build.id):
                if record.state is BuildState.QUEUED:
                    self.send(self.ledger.build(record.id), record.attempt)

    # Ends that are not good

    def _failed(self, work: Work, error: StagefarmError) -> NoReturn:
        """The step raised `error`: because of an order to end it, or of itself."""
        match work.journal.ordered():
            case (Order.STALE, _):
                self._stale(work)
            case (Order.CANCEL, _):
                self._cancelled(work)
            case (Order.HAND_BACK, reason):
                self._hand_back(work, reason)
        if isinstance(error, CheckpointLost):
            self._hand_back(work, str(error), anew=True)
        url = Publisher(self.settings, self.ledger).record_failure(
            work.claim, work.build, work.home, error
        )
        self._wipe(work)
        name, text, hint = type(error).__name__, str(error), error.hint
        match self.ledger.fail(work.claim, name, text, hint, url):
            case EndOutcome.CANCELLED:
                self._cancelled(work)
            case EndOutcome.STALE:
                raise Stale(f"attempt {work.claim.attempt} was taken over")
        raise error

    def _cancelled(self, work: Work) -> NoReturn:
        self._wipe(work)
        self.ledger.cancelled(work.claim)
        raise BuildCancelled(f"build {work.build.id} was cancelled")

    def _hand_back(self, work: Work, reason: str, *, anew: bool = False) -> NoReturn:
        self._wipe(work)
        limit = self.settings.attempts_max
        requeued = self.ledger.hand_back(work.claim, reason, limit, anew=anew)
        self._send_anew(work.build, requeued)
        raise Stale(f"handed back: {reason}")

    def _stale(self, work: Work) -> NoReturn:
        self._wipe(work)
        raise Stale(f"attempt {work.claim.attempt} was taken over")

    def _wipe(self, work: Work) -> None:
        kill_tree(work.home)
        work.workspace.remove()

    def _send_anew(self, build: Build, requeued: Requeued) -> None:
        if requeued.outcome is RequeueOutcome.QUEUED:
            self.send(build, requeued.attempt)
