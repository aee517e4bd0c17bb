"""Repeats a build: the same rendered job, from the same seed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from celery import Celery

from orchestrator.farm.signing import known_job, own_trust
from orchestrator.farm.submit import enter
from orchestrator.planning.prepare import new_id
from tasks.artifacts import compare
from tasks.artifacts.provenance import verified_beside
from tasks.artifacts.store import file_of
from tasks.errors import BadInput, HostUnfit
from tasks.ledger.builds import Ledger
from tasks.ledger.records import Record
from tasks.model import Artifact, Build, BuildState
from tasks.reporting import Report
from tasks.settings import Settings
from tasks.worker.messages import send


def rebuild(record: Record, *, ledger: Ledger, app: Celery, settings: Settings) -> Build:
    """Queue the build of `record` again, under a new id. `BadInput` if it did not succeed, or the
    folder it was submitted from is no longer kept; `Untrusted` if the build, or its result in the
    store, was not signed by whom this machine trusts."""
    if record.state is not BuildState.SUCCEEDED or not record.artifacts:
        raise BadInput(
            f"{record.id} is {record.state}, it has no artifacts to compare with",
            "give a build that succeeded, see `stagefarm status`",
        )
    known = known_job(record.id, ledger, settings).build
    if known.context and not ledger.touch_context(known.context):
        raise BadInput(f"the folder {record.id} was submitted from is no longer kept")
    (build,) = enter([_once_more(known, _seed(record, ledger, settings))], ledger, settings)
    send(app, build, 1)
    return build


def _once_more(build: Build, seed: str) -> Build:
    """`build` as a new build that must start from `seed`."""
    return replace(
        build,
        id=new_id(build.job, datetime.now(UTC)),
        batch="",
        source=replace(build.source, sha256=seed or build.source.sha256),
        rebuild_of=build.id,
    )


def _seed(record: Record, ledger: Ledger, settings: Settings) -> str:
    """The sha256 of the tarball that the build started from; empty if there was none."""
    trust = own_trust(settings)
    if trust.required:
        return verified_beside(_in_store(record.artifacts[0]), trust, record.id).result.seed
    results = ledger.results(record.id, record.attempt, len(record.titles))
    return next((result.seed for result in results.values() if result.seed), "")


def differences(
    before: Record, after: Record, report: Report, *, times: bool = True
) -> dict[str, compare.Difference]:
    """The differences of each artifact, by its name; `HostUnfit` if the store is not here."""
    made = {artifact.name: artifact for artifact in after.artifacts}
    return {
        one.name: compare.difference(
            _content(one, report), _content(made[one.name], report), times=times
        )
        for one in before.artifacts
    }


def _content(artifact: Artifact, report: Report) -> compare.Content:
    return compare.read(_in_store(artifact), report)


def _in_store(artifact: Artifact) -> Path:
    tarball = file_of(artifact.path)
    if not tarball.is_file():
        raise HostUnfit(f"{artifact.path} is not on this machine", "run this where the store is")
    return tarball
