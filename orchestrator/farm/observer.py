"""Looks at the farm for what people should be told: builds that ended, holds, hosts, releases.

What the ledger says is a hint, and hostile: times are bounded, texts are made harmless where they
are written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

from orchestrator.display.cause import brief, excerpt
from orchestrator.formats.releasefile import load_release
from orchestrator.notify.incidents import Ended, Failure, Situation, Try
from orchestrator.notify.inputs import Inputs, differences, inputs_of
from orchestrator.notify.memory import Memory, Observation
from orchestrator.notify.sick import host_situation, stale_situation
from orchestrator.report.model import Freshness, freshness
from orchestrator.report.published import sources_of
from tasks.causes.fingerprint import fingerprint
from tasks.errors import FarmUnreachable, StagefarmError
from tasks.ledger.builds import Ledger
from tasks.ledger.bulk import Bulk
from tasks.ledger.hosts import Hosts
from tasks.ledger.notices import ENDED_AT_ONCE, Notices
from tasks.ledger.records import Record
from tasks.model import BuildState
from tasks.results import Cause
from tasks.settings import Settings
from tasks.trust.policy import own_release_keys

DAY_S = 24 * 3600.0
FIRST_S = 14 * DAY_S
"""When notifications are new on a farm, builds of so long ago are read."""

OVERLAP_S = 2.0
"""Two builds can end in the same moment, one of them after a look."""

PAGES = 5
RELEASES_S = 900.0
"""Mirrors are read so often."""

TEXT_CHARS, NAME_CHARS, LINES_MAX = 300, 200, 5
LINES_AROUND = 2
HOSTS_MAX = 1000


@dataclass(slots=True)
class Observer:
    settings: Settings
    ledger: Ledger
    say: Callable[[str, str], object]
    """Says something of that name, unless it was said last."""
    releases: dict[str, Situation] = field(default_factory=dict)
    _releases_at: float = 0.0

    def look(self, memory: Memory, now: float) -> Observation:
        """What is new since `memory`."""
        after = memory.known.until - OVERLAP_S if memory.known.until else now - FIRST_S
        records, until, is_all = self._ended(after, now)
        held = self._held(memory, records)
        return Observation(
            until=until,
            ended=[one for record in records if (one := ended_of(record, now))],
            situations=[*self._hosts(now), *self.releases.values()],
            is_held=held.__contains__,
            compare=self._compare,
            is_all=is_all,
        )

    def counts(self, now: float) -> Counter[str]:
        """How the builds of the last day ended."""
        records, _, _ = self._ended(now - DAY_S, now)
        return Counter(str(record.state) for record in records)

    def _ended(self, after: float, now: float) -> tuple[list[Record], float, bool]:
        """The records of builds that ended from then on, in the order of their ends; up to when
        that is, and whether there are no more."""
        notices = Notices(self.ledger.connection)
        records: list[Record] = []
        until, is_all = after, False
        for page in range(PAGES):
            found = notices.ended(after, page * ENDED_AT_ONCE)
            records += Bulk(self.ledger.connection).records([build for build, _ in found]).values()
            until = min(max([until, *(at for _, at in found)]), now)
            if is_all := len(found) < ENDED_AT_ONCE:
                break
        records.sort(key=lambda record: (record.ended, record.id))
        return records, until, is_all

    def _held(self, memory: Memory, records: Iterable[Record]) -> set[str]:
        """The builds that the gate of a release holds, of those that are the newest of a stage."""
        notes = memory.stages.values()
        known = {one.build for note in notes for one in (note.good, note.held) if one}
        known |= {record.id for record in records}
        return Notices(self.ledger.connection).held(sorted(known))

    def _hosts(self, now: float) -> list[Situation]:
        try:
            hosts = Hosts(self.ledger.connection).all()[:HOSTS_MAX]
        except ValueError as error:  # of msgspec
            raise StagefarmError(f"the ledger's record of hosts is broken: {error}") from error
        limits = (self.settings.lease_s, self.settings.drain_suspects)
        return [host_situation(host, now, *limits) for host in hosts]

    # What differs

    def _compare(self, before: Try, after: Try) -> tuple[str, ...]:
        try:
            found = differences(self._inputs(before), self._inputs(after))
            return tuple(line[:TEXT_CHARS] for line in found)
        except FarmUnreachable:
            raise
        except StagefarmError:  # forgotten, or of another version
            return ()

    def _inputs(self, one: Try) -> Inputs:
        build = self.ledger.build(one.build)
        results = self.ledger.results(one.build, one.attempt, len(build.steps))
        seed = next((result.seed for result in results.values() if result.seed), "")
        return inputs_of(build, seed=seed, host=one.host)

    # Releases

    def look_at_releases(self, now: float) -> None:
        """Read from the mirrors what is older than its contract. Of a release that cannot be read,
        what was known stays."""
        if now < self._releases_at + RELEASES_S:
            return
        self._releases_at = now
        for file in sorted(Path(self.settings.release_dir).glob("*.yaml")):
            try:
                situations = [*stale_in(file, self.settings, now, partial(self.say, str(file)))]
            except StagefarmError as error:
                self.say(str(file), f"notifications: {file.name}: {error}")
                continue
            self.releases |= {situation.key: situation for situation in situations}


def ended_of(record: Record, now: float) -> Ended | None:
    """What is remembered of a build that has ended; None if it says nothing of its stage: it was
    cancelled, or repeats another one."""
    if record.rebuild_of or record.state not in (BuildState.SUCCEEDED, BuildState.FAILED):
        return None
    if len(record.id) > NAME_CHARS:
        return None  # no submitter makes such an id
    stage = " ".join(part for part in (record.job, record.variant, record.queue) if part)
    at = record.ended if 0 <= record.ended <= now else now
    build = Try(build=record.id, attempt=record.attempt, at=at, host=record.host[:NAME_CHARS])
    failure = _failure(record) if record.state is BuildState.FAILED else None
    return Ended(stage=stage[:NAME_CHARS], build=build, failure=failure)


def _failure(record: Record) -> Failure:
    """Its cause; where the log says none, how it ended."""
    cause = record.cause
    if cause:
        text = brief(cause) or cause.message or record.reason
        return Failure(
            fingerprint=cause.fingerprint[:NAME_CHARS],
            text=text[:TEXT_CHARS],
            lines=tuple(islice(_around(cause), LINES_MAX)),
        )
    text = record.reason or "it failed, and nothing is known of why"
    first = text.partition(":")[0]  # what follows may name hosts and steps
    return Failure(fingerprint=fingerprint(record.error, "", first), text=text[:TEXT_CHARS])


def _around(cause: Cause) -> Iterator[str]:
    """The lines of its excerpt that are next to the one that was matched."""
    for line, text in zip(cause.excerpt, excerpt(cause), strict=True):
        if cause.line and abs(line.number - cause.line) <= LINES_AROUND:
            yield text[:TEXT_CHARS]


def stale_in(
    file: Path, settings: Settings, now: float, say: Callable[[str], object]
) -> Iterator[Situation]:
    """What is older than its contract, of the release in `file`; `StagefarmError` if its mirrors
    cannot be read."""
    if not load_release(file).value.key and not own_release_keys(settings):
        return  # another machine publishes it, and this one could not verify it
    for source in sources_of([file], settings, say):
        release = source.read()
        late = []
        for name, stages in release.offered.items():
            newest, max_age_s = stages[0], release.contracts[name]
            if freshness(newest.built_at, max_age_s, now) is Freshness.STALE:
                title = f"{name.title} {name.queue}"
                build = Try(build=newest.build, at=newest.built_at)
                late.append((title, build, max_age_s))
        yield stale_situation(release.title, late)
