"""Runs one step of an attempt: in its namespaces, from a checkpoint, with a log.

Every problem is an exception; `tasks.worker.verdict` decides what follows from it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tasks.artifacts import context_bundle
from tasks.artifacts.fingerprint import lineage
from tasks.artifacts.provenance import verified_beside
from tasks.errors import (
    Altered,
    CheckpointLost,
    HostUnfit,
    SourceFailed,
    StagefarmError,
    Stale,
    TimedOut,
    Untrusted,
)
from tasks.ledger.answers import Resume
from tasks.ledger.builds import Ledger
from tasks.ledger.logs import Logbook, Page
from tasks.metering import Meter
from tasks.model import Build, StepKind
from tasks.reporting import Line
from tasks.results import Artifact, Checkpoint, SeedOrigin, StepResult
from tasks.settings import Settings
from tasks.step.launcher import perform
from tasks.step.protocol import Restore
from tasks.store.opening import open_store, stored_file
from tasks.store.store import OnBytes, Store
from tasks.trust.policy import host_key, trust_of
from tasks.trust.statements import sign_checkpoint, verified_checkpoint
from tasks.worker.build_log import BuildLog, LogFile
from tasks.worker.work import Work

DAY_S = 24 * 3600.0
LOOK_EVERY_S = 0.5


def require_step_before(work: Work) -> None:
    """The step before ended on this host, in this attempt: the ledger's word is not enough, since
    whoever writes to Redis could leave steps out."""
    if work.number and work.journal.result(work.number - 1) is None:
        raise HostUnfit(
            f"the journal of this host does not have step {work.number}, which comes before",
            "see docs/security.md: only steps that this host did, or verified, are built on",
        )


def counted(meter: Meter, work: Work) -> OnBytes:
    """Counts what is moved to or from the store; ends the transfer when the agent has ended the
    attempt, since only a step's process can be killed."""

    look_at = 0.0

    def on_bytes(amount: int) -> None:
        nonlocal look_at
        meter.add(amount)
        if (now := time.monotonic()) >= look_at:
            look_at = now + LOOK_EVERY_S
            if order := work.journal.ordered():
                raise Stale(order[1])

    return on_bytes


def _origin_of(build: Build, settings: Settings) -> SeedOrigin:
    """Where the seed of a build of a chain came from: not a path of this host, which is nobody's
    business, but the build."""
    known = (f"stagefarm {build.after}",) if settings.trust == "signed" else ()
    return SeedOrigin(uri=f"urn:stagefarm:build:{build.after}", verified=known)


@dataclass(frozen=True, slots=True)
class Performer:
    settings: Settings
    ledger: Ledger

    @contextmanager
    def log(self, work: Work) -> Iterator[BuildLog]:
        """The log of the step, appended to the log file of the attempt."""
        page = Page(work.build.id, work.claim.attempt, work.number)
        file = LogFile(work.home / "build.log", self.settings.log_file_limit_bytes)
        logbook = Logbook(self.ledger.connection)
        with BuildLog(logbook, file, page, self.settings.log_limit_lines) as report:
            yield report

    def note(self, work: Work, text: str) -> None:
        """Write one line to the log of a step that does not log otherwise."""
        with self.log(work) as report:
            report.line(Line(text=text))

    def perform(self, work: Work) -> StepResult:
        """Run any step except publishing."""
        with self.log(work) as report:
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
            with self._from_store(work, report) as build:
                result = self._in_namespaces(
                    replace(work, job=replace(work.job, build=build)), report
                )
            result = replace(result, origin=_origin_of(work.build, self.settings))
        else:
            result = self._in_namespaces(work, report)
        if not work.step.checkpoint:
            return result
        return replace(result, checkpoint=self._keep(work, report))

    @contextmanager
    def _from_store(self, work: Work, report: BuildLog) -> Iterator[Build]:
        """The build, with the tarball of the build it starts from as its source: on this machine,
        and named by the digest that its host signed."""
        build, source = work.build, work.build.source
        artifact = self._artifact(build.after, Path(source.path).name)
        tarball, sha256 = stored_file(artifact.path, self.settings), artifact.sha256
        trust = trust_of(self.settings)
        if trust.required:
            sha256 = verified_beside(tarball, trust, build.after).result.files[artifact.name]
        sha256 = source.sha256 or sha256
        meter = Meter(report, f"fetch {artifact.name}", total=artifact.size_bytes)
        with ExitStack() as until_then:
            try:
                path = until_then.enter_context(tarball.fetched(sha256, counted(meter, work)))
            except (FileNotFoundError, Altered) as error:
                raise SourceFailed(f"cannot start from {artifact.path}: {error}") from error
            yield replace(build, source=replace(source, path=str(path), sha256=sha256))

    def _artifact(self, build: str, name: str) -> Artifact:
        for artifact in self.ledger.artifacts(build):
            if artifact.name == name:
                return artifact
        raise SourceFailed(f"{build} has no artifact {name} to start from")

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
            sent = counted(Meter(report, "upload the checkpoint"), work)
            with self._store.new_checkpoint(*here, work.claim.holder.host, sent) as folder:
                kept = self._in_namespaces(work, report, keep_in=str(folder)).artifacts
        except (OSError, StagefarmError) as error:
            if work.journal.ordered():
                raise
            report.line(Line(text=f"no checkpoint of this step: {error}"))
            return None
        report.line(Line(text=f"checkpoint of this step: {kept[0].size_bytes:,} bytes"))
        rootfs, workspace = kept
        seed, origin = work.journal.seed()
        checkpoint = Checkpoint(
            attempt=work.claim.attempt,
            step=work.number,
            lineage=lineage(work.build, work.number),
            rootfs=rootfs,
            workspace=workspace,
            seed=seed,
            origin=origin,
        )
        return sign_checkpoint(work.build.id, checkpoint, host_key(self.settings))

    def _restore(self, work: Work, resume: Resume, report: BuildLog) -> StepResult:
        try:
            kept = self._verified(work, resume.checkpoint)
            report.line(Line(text=f"resuming from the checkpoint of attempt {kept.attempt}"))
            total = kept.rootfs.size_bytes + kept.workspace.size_bytes
            meter = Meter(report, "fetch the checkpoint", total=total)
            fetching = self._store.kept_checkpoint(work.build, kept, counted(meter, work))
            with fetching as folder:
                if not folder:
                    raise SourceFailed("it is not in the store")
                restore = Restore(checkpoint=kept, folder=str(folder))
                return self._in_namespaces(work, report, restore=restore)
        except (SourceFailed, Untrusted, Altered) as error:
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
    def _store(self) -> Store:
        return open_store(self.settings)

    def _left(self, work: Work) -> float:
        """Seconds left of the build's time limit, 0 for no limit."""
        if not (limit := work.build.timeout_s):
            return 0.0
        since = self.ledger.record(work.build.id).claimed
        left = since + limit - self.ledger.now()
        if left <= 0:
            raise TimedOut(f"the build took longer than its limit of {limit:g} s")
        return left
