"""Reads what the ledger says of builds and hosts: hostile input, and a hint. What is published is
never read from here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from urllib.parse import unquote

from orchestrator.display.table import state_of
from orchestrator.formats.releasefile import Selection
from orchestrator.release.taking import names_of, selection_of
from orchestrator.report.model import Farm, HostRow, StageName, Try, possible_size, possible_time
from orchestrator.report.published import Source
from tasks.artifacts import gate_tests
from tasks.artifacts.gate_tests import GateTest
from tasks.errors import HostUnfit, StagefarmError
from tasks.ledger.builds import Ledger
from tasks.ledger.hosts import Hosts
from tasks.ledger.logs import Logbook
from tasks.ledger.records import Attempt, Record
from tasks.settings import Settings
from tasks.store.opening import stored_file
from tasks.store.store import StoredFile

AT_ONCE = 1000
LOG_MAX_BYTES = 64 << 20


def read_farm(
    ledger: Ledger, sources: Sequence[Source], count: int, settings: Settings
) -> tuple[Farm, dict[str, Record]]:
    """The newest `count` builds, their records, and the hosts."""
    ids = ledger.builds(count)
    records = [
        record
        for start in range(0, len(ids), AT_ONCE)
        for record in ledger.known_records(ids[start : start + AT_ONCE])
    ]
    naming = _Naming(ledger, sources, {})
    tries, stages = [], dict[StageName, float]()
    for record in records:
        named = naming.names(record)
        tries.append(_try(record, tuple(named)))
        for name, max_age_s in named.items():
            stages.setdefault(name, max_age_s)
    farm = Farm(
        tries=tuple(tries), stages=tuple(stages.items()), hosts=_hosts(ledger, settings.lease_s)
    )
    return farm, {record.id: record for record in records}


@dataclass(frozen=True, slots=True)
class _Naming:
    """Which stages of the releases a build makes. Builds of one job with the same options make the
    same, so one of them is read."""

    ledger: Ledger
    sources: Sequence[Source]
    known: dict[tuple[object, ...], dict[StageName, float]]

    def names(self, record: Record) -> dict[StageName, float]:
        """The stages that the build makes, each with its contract in seconds."""
        if record.rebuild_of:
            return {}
        chosen = tuple(
            selection_of(source.release.stages, record.job, record.batch) for source in self.sources
        )
        key = (record.job, record.queue, record.variant, chosen)
        if key not in self.known:
            self.known[key] = dict(self._read(record, chosen))
        return self.known[key]

    def _read(
        self, record: Record, chosen: Sequence[Selection | None]
    ) -> Iterator[tuple[StageName, float]]:
        with suppress(StagefarmError):  # no option that the release names, or another version
            build = self.ledger.build(record.id) if any(chosen) else None
            for source, selection in zip(self.sources, chosen, strict=True):
                if build and selection:
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
        reason=(record.reason or record.cancel)[:2000],
        gate=record.gate[:200],
        size_bytes=possible_size(record.artifacts[0].size_bytes) if record.artifacts else 0,
    )


def _hosts(ledger: Ledger, lease_s: float) -> tuple[HostRow, ...]:
    now = ledger.now()
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """What else the page of a build shows: when each step began and ended, the attempts, the tests
    of its host, and the lines of its log."""

    times: tuple[tuple[float, float], ...] = ()
    attempts: tuple[Attempt, ...] = ()
    tests: tuple[GateTest, ...] = ()
    log: tuple[str, ...] = ()


def details(ledger: Ledger, record: Record, settings: Settings, *, with_log: bool) -> Details:
    return Details(
        times=tuple(
            (possible_time(began), possible_time(ended))
            for began, ended in ledger.step_times(record.id, record.attempt, len(record.titles))
        ),
        attempts=tuple(ledger.attempts(record.id)),
        tests=_tests(record, settings),
        log=_log(ledger, record, settings) if with_log else (),
    )


def _tests(record: Record, settings: Settings) -> tuple[GateTest, ...]:
    """The tests beside the first tarball, as the store has them; empty if it does not."""
    with suppress(StagefarmError, OSError):
        for artifact in record.artifacts:
            tarball = _in_store(artifact.path, settings)
            return gate_tests.read(tarball.sibling(f"{tarball.name}.{gate_tests.ENDING}"))
    return ()


def _log(ledger: Ledger, record: Record, settings: Settings) -> tuple[str, ...]:
    """The whole log from the store; where that has none, the newest lines from Redis."""
    with suppress(StagefarmError, OSError):
        if record.url:
            content = _in_store(f"{record.url}/build.log", settings).read(LOG_MAX_BYTES)
            return tuple(content.decode("utf-8", "surrogateescape").split("\n"))
    book, last, lines = Logbook(ledger.connection), "-", list[str]()
    while entries := book.read(record.id, last):
        last = entries[-1].id
        lines += [f"[{e.line.hook}] {e.line.text}" if e.line.hook else e.line.text for e in entries]
    return tuple(lines)


def _in_store(url: str, settings: Settings) -> StoredFile:
    """The file at `url`; `HostUnfit` if that is not below the store: whoever writes to Redis must
    not choose which files of this machine are shown to the public."""
    steps = unquote(url).split("/")
    if not url.startswith(f"{settings.store.rstrip('/')}/") or ".." in steps:
        raise HostUnfit(f"{url} is not in the store of this machine, {settings.store}")
    return stored_file(url, settings)
