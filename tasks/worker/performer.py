"""Runs one step of an attempt: in its namespaces, from a checkpoint, with a log.

Every problem is an exception; `tasks.worker.verdict` decides what follows from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tasks.artifacts import context_bundle
from tasks.artifacts.fingerprint import lineage
from tasks.artifacts.provenance import verified_beside
from tasks.artifacts.store import FileStore, file_of
from tasks.errors import (
    CheckpointLost,
    HostUnfit,
    SourceFailed,
    StagefarmError,
    TimedOut,
    Untrusted,
)
from tasks.ledger.answers import Resume
from tasks.ledger.builds import Ledger
from tasks.ledger.logs import Logbook, Page
from tasks.model import Build, Checkpoint, Line, StepKind, StepResult
from tasks.settings import Settings
from tasks.step.launcher import perform
from tasks.step.protocol import Restore
from tasks.trust.policy import host_key, trust_of
from tasks.trust.statements import sign_checkpoint, verified_checkpoint
from tasks.worker.build_log import BuildLog, LogFile
from tasks.worker.work import Work

DAY_S = 24 * 3600.0


def require_step_before(work: Work) -> None:
    """The step before ended on this host, in this attempt: the ledger's word is not enough, since
    whoever writes to Redis could leave steps out."""
    if work.number and work.journal.result(work.number - 1) is None:
        raise HostUnfit(
            f"the journal of this host does not have step {work.number}, which comes before",
            "see docs/security.md: only steps that this host did, or verified, are built on",
        )


@dataclass(frozen=True, slots=True)
class Performer:
    settings: Settings
    ledger: Ledger

    @contextmanager
    def _log(self, work: Work) -> Iterator[BuildLog]:
        """The log of the step, appended to the log file of the attempt."""
        page = Page(work.build.id, work.claim.attempt, work.number)
        file = LogFile(work.home / "build.log", self.settings.log_file_limit_bytes)
        logbook = Logbook(self.ledger.connection)
        with BuildLog(logbook, file, page, self.settings.log_limit_lines) as report:
            yield report

    def note(self, work: Work, text: str) -> None:
        """Write one line to the log of a step that does not log otherwise."""
        with self._log(work) as report:
            report.line(Line(text=text))

    def perform(self, work: Work) -> StepResult:
        """Run any step except publishing."""
        with self._log(work) as report:
            report.line(Line(text=work.opening))
            return self._perform(work, report)

    def drop(self, work: Work, result: StepResult) -> None:
        """Remove the checkpoint of a step that does not count from the store."""
        kept = result.checkpoint
        if kept and kept.attempt == work.claim.attempt:
            self._store.drop_checkpoint(work.build, kept.attempt, kept.step)

    def _perform(self, work: Work, report: BuildLog) -> StepResult:
        resume = self.ledger.resume(work.build.id, work.claim.attempt)
        if resume and resume.checkpoint.step == work.number:
            self._bring_context(work)
            return self._restore(work, resume, report)
        require_step_before(work)
        if work.number == 0:
            self._bring_context(work)
        if work.build.after and work.step.kind is StepKind.SOURCE:
            work = replace(work, job=replace(work.job, build=self._from_store(work.build)))
        result = self._in_namespaces(work, report)
        if not work.step.checkpoint:
            return result
        return replace(result, checkpoint=self._keep(work, report))

    def _from_store(self, build: Build) -> Build:
        """`build`, with the tarball of the build it starts from as its source."""
        source = build.source
        name = Path(source.path).name
        trust = trust_of(self.settings)
        for artifact in self.ledger.artifacts(build.after):
            if artifact.name == name:
                path, sha256 = file_of(artifact.path), artifact.sha256
                if trust.required:
                    sha256 = verified_beside(path, trust, build.after).result.files[name]
                source = replace(source, path=str(path), sha256=source.sha256 or sha256)
                return replace(build, source=source)
        raise SourceFailed(f"{build.after} has no artifact {name} to start from")

    def _bring_context(self, work: Work) -> None:
        if digest := work.build.context:
            data = self.ledger.context(digest)
            context_bundle.unpack(data, digest, Path(work.workspace.working_dir))

    def _in_namespaces(
        self, work: Work, report: BuildLog, keep_in: str = "", restore: Restore | None = None
    ) -> StepResult:
        return perform(
            work.build,
            work.number,
            work.workspace,
            report,
            settings=self.settings,
            timeout_s=self._left(work),
            keep_in=keep_in,
            restore=restore,
        )

    def _keep(self, work: Work, report: BuildLog) -> Checkpoint | None:
        """Store the state after the step as a checkpoint. An error here does not fail the
        build."""
        here = (work.build, work.claim.attempt, work.number)
        try:
            self._store.sweep_checkpoints(self.settings.keep_days * DAY_S)
            with self._store.new_checkpoint(*here, work.claim.holder.host) as folder:
                kept = self._in_namespaces(work, report, keep_in=str(folder)).artifacts
        except (OSError, StagefarmError) as error:
            if work.journal.ordered():
                raise
            report.line(Line(text=f"no checkpoint of this step: {error}"))
            return None
        report.line(Line(text=f"checkpoint of this step: {kept[0].size_bytes:,} bytes"))
        rootfs, workspace = kept
        checkpoint = Checkpoint(
            attempt=work.claim.attempt,
            step=work.number,
            lineage=lineage(work.build, work.number),
            rootfs=rootfs,
            workspace=workspace,
            seed=work.journal.seed(),
        )
        return sign_checkpoint(work.build.id, checkpoint, host_key(self.settings))

    def _restore(self, work: Work, resume: Resume, report: BuildLog) -> StepResult:
        try:
            kept = self._verified(work, resume.checkpoint)
            folder = self._store.checkpoint(work.build, kept.attempt, kept.step)
            report.line(Line(text=f"resuming from the checkpoint of attempt {kept.attempt}"))
            if not folder.is_dir():
                raise SourceFailed(f"it is not in the store: {folder}")
            restore = Restore(checkpoint=kept, folder=str(folder))
            return self._in_namespaces(work, report, restore=restore)
        except (SourceFailed, Untrusted) as error:
            text = f"cannot resume after step {work.number + 1}: {error}"
            if resume.asked:
                hint = "stagefarm retry, without --from, builds from the beginning"
                raise SourceFailed(text, hint) from error
            raise CheckpointLost(text) from error

    def _verified(self, work: Work, checkpoint: Checkpoint) -> Checkpoint:
        """The checkpoint as a trusted host signed it, of this very step of this job."""
        kept = verified_checkpoint(checkpoint, work.job, trust_of(self.settings))
        if (kept.step, kept.lineage) != (work.number, lineage(work.build, work.number)):
            raise Untrusted("the checkpoint is that of another step, or of a changed job")
        return kept

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
