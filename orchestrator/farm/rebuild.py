"""Repeats a build: the same rendered job, from the same seed."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from celery import Celery

from orchestrator.farm.fetch import require_stored
from orchestrator.farm.signing import known_job, own_trust
from orchestrator.farm.submit import enter
from orchestrator.planning.prepare import new_id
from tasks.artifacts.provenance import verified_beside
from tasks.errors import Altered, BadInput
from tasks.inspection.compare import Difference, difference
from tasks.inspection.inventory import Inventory
from tasks.inspection.scan import scan_file
from tasks.ledger.builds import Ledger
from tasks.ledger.records import Record
from tasks.metering import Meter
from tasks.model import Artifact, Build, BuildState
from tasks.reporting import Report
from tasks.settings import Settings
from tasks.store.opening import stored_file
from tasks.store.store import StoredFile
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
        tarball = stored_file(record.artifacts[0].path, settings)
        require_stored(tarball)
        return verified_beside(tarball, trust, record.id).result.seed
    results = ledger.results(record.id, record.attempt, len(record.titles))
    return next((result.seed for result in results.values() if result.seed), "")


def differences(
    before: Record, after: Record, settings: Settings, report: Report, *, times: bool = True
) -> dict[str, Difference]:
    """The differences of each artifact, by its name; `HostUnfit` if the store does not have it or
    is elsewhere."""

    made = {artifact.name: artifact for artifact in after.artifacts}
    return {
        one.name: difference(
            inventory_of(*_known(before, one, settings), report),
            inventory_of(*_known(after, made[one.name], settings), report),
            times=times,
        )
        for one in before.artifacts
    }


def made_by(record: Record, settings: Settings) -> tuple[StoredFile, str]:
    """The one tarball of a build and its sha256, as its host signed it; `BadInput` if the build
    made none, or several."""
    if len(record.artifacts) != 1:
        raise BadInput(
            f"{record.id} is {record.state} and has {len(record.artifacts)} tarballs",
            f"name one by its URL, see `stagefarm status {record.id}`",
        )
    return _known(record, record.artifacts[0], settings)


def _known(record: Record, artifact: Artifact, settings: Settings) -> tuple[StoredFile, str]:
    """An artifact's file and the digest that counts: that of the signed result, or the ledger's
    where this machine requires no signatures."""
    trust, tarball = own_trust(settings), stored_file(artifact.path, settings)
    require_stored(tarball)
    if not trust.required:
        return tarball, artifact.sha256
    return tarball, verified_beside(tarball, trust, record.id).result.files[artifact.name]


def inventory_of(tarball: StoredFile, sha256: str, report: Report) -> Inventory:
    """The inventory of a tarball, which is brought here first if it is elsewhere. `Altered` if it
    has not the digest `sha256`, unless that is empty."""
    meter = Meter(report, f"fetch {tarball.name}", total=require_stored(tarball))
    with tarball.fetched(sha256, meter.add) as path:
        try:
            found = scan_file(path, report)
        except BadInput:
            _require(sha256, _digest(path), tarball.url)
            raise
        _require(sha256, found.sha256, tarball.url)
        return found


def _require(sha256: str, found: str, url: str) -> None:
    if sha256 and found != sha256:
        raise Altered(f"{url} is not what was built: its sha256 differs")


def _digest(tarball: Path) -> str:
    with tarball.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
