"""Repeats a build: the same rendered job, from the same seed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from celery import Celery

from orchestrator.farm.fetch import require_stored
from orchestrator.farm.signing import known_job, own_trust
from orchestrator.farm.submit import enter
from orchestrator.planning.prepare import new_id
from tasks.artifacts.provenance import record_rebuild, verified_beside
from tasks.errors import Altered, BadInput
from tasks.inspection.compare import Difference, difference
from tasks.inspection.inventory import Inventory
from tasks.inspection.scan import scan_file
from tasks.ledger.builds import Ledger
from tasks.ledger.hosts import Host, Hosts
from tasks.ledger.records import Record
from tasks.metering import Meter
from tasks.model import Build, BuildState
from tasks.reporting import Report
from tasks.results import Artifact
from tasks.settings import Settings
from tasks.store.opening import stored_file
from tasks.store.store import StoredFile
from tasks.worker.messages import send


def rebuild(
    record: Record,
    *,
    ledger: Ledger,
    app: Celery,
    settings: Settings,
    other_host: bool = False,
) -> Build:
    """Queue the build of `record` again, under a new id; with `other_host` for a host with another
    key. `BadInput` if it did not succeed, the folder it was submitted from is no longer kept, or
    there is no other host; `Untrusted` if the build, or its result in the store, was not signed by
    whom this machine trusts."""
    if record.state is not BuildState.SUCCEEDED or not record.artifacts:
        raise BadInput(
            f"{record.id} is {record.state}, it has no artifacts to compare with",
            "give a build that succeeded, see `stagefarm status`",
        )
    known = known_job(record.id, ledger, settings).build
    if known.context and not ledger.touch_context(known.context):
        raise BadInput(f"the folder {record.id} was submitted from is no longer kept")
    again = _once_more(known, _seed(record, ledger, settings))
    if other_host:
        again = replace(again, not_by=_key_of(record, settings))
        if not others_of(record, Hosts(ledger.connection).all(), ledger.now(), settings.lease_s):
            raise BadInput(
                f"no other host than {record.host} serves {record.queue} now",
                "see `stagefarm workers`",
            )
    (build,) = enter([again], {}, ledger, settings)
    send(app, build, 1)
    return build


def others_of(record: Record, hosts: Iterable[Host], now: float, lease_s: float) -> list[Host]:
    """The hosts that could build what `record` says, but for the one that did."""
    return [
        host
        for host in hosts
        if host.name != record.host
        and host.alive(now, lease_s)
        and record.queue in host.queues
        and not (host.drained or host.refuses)
    ]


def _key_of(record: Record, settings: Settings) -> str:
    """The public key of the host that built it."""
    if not own_trust(settings).required:
        raise BadInput("hosts are told apart by their keys", 'not with trust = "redis"')
    tarball = stored_file(record.artifacts[0].path, settings)
    return verified_beside(tarball, own_trust(settings), record.id).result.key


def _once_more(build: Build, seed: str) -> Build:
    """`build` as a new build that must start from `seed`."""
    return replace(
        build,
        id=new_id(build.job, datetime.now(UTC)),
        batch="",
        source=replace(build.source, sha256=seed or build.source.sha256),
        rebuild_of=build.id,
        not_by="",
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What a rebuild has shown of one tarball, and the file of the store that proves it."""

    tarball: str
    same: bool
    other_key: bool
    url: str

    @property
    def is_independent(self) -> bool:
        return self.same and self.other_key


def record_results(before: Record, after: Record, settings: Settings) -> list[Recorded]:
    """Put what the host of a rebuild has signed beside the tarballs of the original, for the next
    publication. Nobody needs to believe who compares: both hosts have signed what they made, and
    of what. `HostUnfit` if the store does not take it, `Untrusted` if something is not signed."""
    trust = own_trust(settings)
    if not trust.required:
        return []
    made, found = {artifact.name: artifact for artifact in after.artifacts}, []
    for one in before.artifacts:
        if one.name not in made:
            continue
        tarball, again = (stored_file(a.path, settings) for a in (one, made[one.name]))
        old = verified_beside(tarball, trust, before.id).result
        new = verified_beside(again, trust, after.id).result
        file = record_rebuild(tarball, again, new.host)
        found.append(
            Recorded(
                tarball=one.name,
                same=old.files[one.name] == new.files[one.name],
                other_key=old.key != new.key,
                url=file.url,
            )
        )
    return found


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
