"""Reads what the ledger says of builds and hosts: hostile input, and a hint. What is published is
never read from here.

Events tell which builds have changed since the last report. Everything is read where they cannot:
the first time, where the stream was cut or Redis was set back, and with other release files; and
once a day, so that nothing stays wrong for long.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from orchestrator.display.cause import brief
from orchestrator.display.table import state_of
from orchestrator.formats.releasefile import Selection
from orchestrator.release.taking import names_of, selection_of
from orchestrator.report.builds import Change, KnownBuilds
from orchestrator.report.folder import SiteFolder
from orchestrator.report.model import (
    HostRow,
    KnownStage,
    StageName,
    Try,
    possible_size,
    possible_time,
)
from orchestrator.report.published import Source
from tasks.errors import StagefarmError
from tasks.ledger.builds import Ledger
from tasks.ledger.bulk import MALFORMED, Bulk
from tasks.ledger.events import Events
from tasks.ledger.hosts import Hosts
from tasks.ledger.records import Record
from tasks.model import Build, BuildState
from tasks.settings import Settings

AT_ONCE = 1000
READ_ALL_S = 24 * 3600.0
REASON_MAX = 2000

Contracts = dict[StageName, float]
"""The stages that a build makes, each with its contract in seconds."""


def read_farm(
    site: SiteFolder,
    ledger: Ledger,
    sources: Sequence[Source],
    builds_max: int,
    settings: Settings,
) -> None:
    """Bring up to date what the site knows of the newest `builds_max` builds and of hosts. It is
    one transaction: after an error, the site knows what it knew before."""
    database = site.database
    known, change = KnownBuilds(database), Change(database)
    changes = Events(ledger.connection).since(known.position)
    basis = _basis(sources, builds_max)
    read_all_at = float(database.noted("read_all_at") or 0)
    naming = _Naming(Bulk(ledger.connection), sources)
    with database.changing():
        if (
            changes.builds is not None
            and database.noted("basis") == basis
            and 0 <= changes.now - read_all_at < READ_ALL_S
        ):
            named = sorted(changes.builds)
            change.remove(set(named) - _add(change, naming, named))
        else:
            change.remove(known.ids() - _add(change, naming, ledger.builds(builds_max)))
            site.look_for_pages("build/")
            site.look_for_pages("causes/")
            database.note("basis", basis)
            database.note("read_all_at", repr(changes.now))
        change.remove(known.oldest(builds_max))
        change.finish()
        with suppress(*MALFORMED):
            known.note_hosts(_hosts(ledger, changes.now, settings.lease_s))
        known.note_read(changes.position, changes.now)


def read_newest(
    ledger: Ledger, sources: Sequence[Source], count: int
) -> tuple[list[KnownStage], dict[StageName, list[Record]]]:
    """The stages that the newest `count` builds make, and those builds of each, newest first: read
    anew, for who keeps no site."""
    naming, found = _Naming(Bulk(ledger.connection), sources), dict[StageName, list[Record]]()
    stages: dict[StageName, KnownStage] = {}
    builds = ledger.builds(count)
    for start in range(0, len(builds), AT_ONCE):
        records = naming.bulk.records(builds[start : start + AT_ONCE])
        for record, contracts in naming.named(records.values()):
            last = _try(record, tuple(contracts))
            for name, max_age_s in contracts.items():
                found.setdefault(name, []).append(record)
                known = KnownStage(name=name, max_age_s=max_age_s, history="", last=last)
                stages.setdefault(name, known)
    return list(stages.values()), found


def _basis(sources: Sequence[Source], builds_max: int) -> str:
    """What decides, beside the ledger, which builds are known as what."""
    chosen = [(source.title, source.release.stages) for source in sources]
    return hashlib.sha256(repr((chosen, builds_max)).encode()).hexdigest()


def _add(change: Change, naming: _Naming, builds: Sequence[str]) -> set[str]:
    """Note what the ledger says of the builds; returns those that it has."""
    found: set[str] = set()
    for start in range(0, len(builds), AT_ONCE):
        records = naming.bulk.records(builds[start : start + AT_ONCE])
        for record, contracts in naming.named(records.values()):
            change.add(_try(record, tuple(contracts)), contracts)
        found |= records.keys()
    return found


@dataclass(frozen=True, slots=True)
class _Naming:
    """Which stages of the releases a build makes. Builds of one job with the same options make the
    same, so one of them is read."""

    bulk: Bulk
    sources: Sequence[Source]
    known: dict[tuple[object, ...], Contracts] = field(default_factory=dict)

    def named(self, records: Iterable[Record]) -> Iterator[tuple[Record, Contracts]]:
        """Each record with what it makes."""
        keyed = [(self._key(record), record) for record in records]
        unknown: dict[tuple[object, ...], Record] = {}
        for key, record in keyed:
            if key not in self.known:
                unknown.setdefault(key, record)
        builds = self.bulk.builds([record.id for record in unknown.values()])
        for key, record in unknown.items():
            build = None if record.rebuild_of else builds.get(record.id)
            self.known[key] = dict(self._contracts(build, record.batch)) if build else {}
        for key, record in keyed:
            yield record, self.known[key]

    def _key(self, record: Record) -> tuple[object, ...]:
        repeats = bool(record.rebuild_of)
        chosen = tuple(self._chosen(record.job, record.batch))
        return (record.job, record.queue, record.variant, repeats, chosen)

    def _chosen(self, job: str, batch: str) -> Iterator[Selection | None]:
        return (selection_of(one.release.stages, job, batch) for one in self.sources)

    def _contracts(self, build: Build, batch: str) -> Iterator[tuple[StageName, float]]:
        chosen = self._chosen(build.job, batch)
        for source, selection in zip(self.sources, chosen, strict=True):
            with suppress(StagefarmError):  # it has no option that the release names
                if selection:
                    product, variant, _ = names_of(selection, build)
                    name = StageName(
                        release=source.title,
                        product=product,
                        variant=variant,
                        arch=build.arch,
                        subarch=build.subarch,
                    )
                    yield name, float(selection.max_age)


def _try(record: Record, stages: tuple[StageName, ...]) -> Try:
    shown = replace(record, progress="")
    failed_for = record.cause if record.state is BuildState.FAILED else None
    return Try(
        id=record.id,
        job=record.job,
        queue=record.queue,
        state=record.state,
        attempt=record.attempt,
        digest=hashlib.sha256(repr(shown).encode()).hexdigest(),
        stages=stages,
        batch=record.batch,
        host=record.host,
        submitted=possible_time(record.submitted),
        claimed=possible_time(record.claimed),
        ended=possible_time(record.ended),
        step=record.step_title,
        reason=(record.reason or record.cancel)[:REASON_MAX],
        gate=record.gate[:200],
        size_bytes=possible_size(record.artifacts[0].size_bytes) if record.artifacts else 0,
        fingerprint=failed_for.fingerprint if failed_for else "",
        cause=(brief(failed_for) or record.reason)[:500] if failed_for else "",
    )


def _hosts(ledger: Ledger, now: float, lease_s: float) -> tuple[HostRow, ...]:
    return tuple(
        HostRow(
            name=host.name,
            state=state_of(host, now, lease_s),
            queues=host.queues,
            slots=host.slots,
            builds=host.builds,
            troubles=tuple(
                [f"builds no {job}: {unfit.reason}" for job, unfit in sorted(host.unfit.items())
                 if unfit.until > now]
                + [f"cannot clean up: {reason}" for reason in host.cleaning.values()]
            ),
            version=host.version,
        )
        for host in Hosts(ledger.connection).all()
    )  # fmt: skip
