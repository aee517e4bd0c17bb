"""Has published builds repeated by hosts that have nothing to do, so that more and more of them are
reproduced.

At most `rebuilds_per_day`, one at a time, of the newest published builds of which no rebuild is
known, each once: on another host than the one that built it, while nothing waits in its queue. A
rebuild that fails says nothing about the original. What was tried is noted on this machine, beside
what it knows of releases.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from celery import Celery

from orchestrator.farm.rebuild import others_of, rebuild, record_results
from orchestrator.origin.evidence import rebuilds_name
from orchestrator.release.catalog import Stage
from orchestrator.release.known import Known
from orchestrator.release.setup import publisher_of
from tasks.errors import BadInput, StagefarmError, Untrusted
from tasks.host.files import replaced, write_all
from tasks.ledger.builds import Ledger
from tasks.ledger.hosts import Host, Hosts
from tasks.ledger.records import Record
from tasks.ledger.waiting import Waiting
from tasks.model import BuildState, decode, encode, short_id
from tasks.reporting import Silent
from tasks.settings import Settings
from tasks.trust.builds import NAME

DAY_S = 24 * 3600.0
PAUSE_SCANS = 30
"""To begin a rebuild, mirrors are read: once in so many scans of the supervisor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """One build that was repeated: by which, when, and how that ended; empty while it goes on."""

    rebuild: str = ""
    at: float
    outcome: str = ""


@dataclass(slots=True)
class SpareRebuilds:
    settings: Settings
    ledger: Ledger
    app: Celery
    say: Callable[[str], object]
    clock: Callable[[], float] = time.time
    _look_at: float = 0.0
    _thread: threading.Thread | None = None

    def look(self) -> None:
        """Look after the rebuilds in the background, unless it is too early for that."""
        if not self.settings.rebuilds_per_day or (self._thread and self._thread.is_alive()):
            return
        if time.monotonic() < self._look_at:
            return
        self._thread = threading.Thread(target=self._safely, daemon=True)
        self._thread.start()

    def _safely(self) -> None:
        try:
            self.go_on()
        except StagefarmError as error:
            self.say(f"rebuilds: {error}")
            self._look_at = time.monotonic() + PAUSE_SCANS * self.settings.scan_s

    def go_on(self) -> None:
        """Record the rebuild that has ended, and begin the next one if it is time for it."""
        notes = self._notes()
        for build, note in notes.items():
            if not note.outcome:
                notes[build] = self._ended(build, note)
        pending = [note for note in notes.values() if not note.outcome]
        if not pending and self._may_begin(notes.values()):
            pending = [self._begin(record) for record in islice(self._candidates(notes), 1)]
        scans = 1 if pending else PAUSE_SCANS
        self._look_at = time.monotonic() + scans * self.settings.scan_s

    # One that was begun

    def _ended(self, build: str, note: Note) -> Note:
        """The note, with how the rebuild ended if it has."""
        after = self.ledger.find(note.rebuild) if note.rebuild else None
        if after and not after.state.ended:
            return note
        outcome = "it was not submitted" if not note.rebuild else "it is not known any more"
        if after:
            outcome = self._outcome(build, after)
        self.say(f"rebuild of {short_id(build)}: {outcome}")
        return self._write(build, replace(note, outcome=outcome))

    def _outcome(self, build: str, after: Record) -> str:
        if after.state is not BuildState.SUCCEEDED:
            return f"{after.state}: {after.reason or after.cancel or 'see its log'}"
        try:
            found = record_results(self.ledger.record(build), after, self.settings)
        except StagefarmError as error:
            return f"it is not recorded: {error}"
        same = bool(found) and all(one.is_independent for one in found)
        return f"{'reproduced' if same else 'differs'} on {after.host}"

    # The next one

    def _may_begin(self, notes: Iterable[Note]) -> bool:
        begun = [note for note in notes if self.clock() - note.at < DAY_S]
        return len(begun) < self.settings.rebuilds_per_day

    def _candidates(self, known: dict[str, Note]) -> Iterator[Record]:
        """The newest published builds that were never repeated, and that a host could now."""
        now = self.ledger.now()
        idle = [host for host in Hosts(self.ledger.connection).all() if self._is_idle(host, now)]
        if not idle:
            return
        _, waiting = Waiting(self.ledger.connection).late(0.0, 1)
        busy = {one.queue for one in waiting}
        for stage in self._published():
            record = None if stage.build in known else self.ledger.find(stage.build)
            if not record or record.queue in busy or record.state is not BuildState.SUCCEEDED:
                continue
            if others_of(record, idle, now, self.settings.lease_s):
                yield record

    def _is_idle(self, host: Host, now: float) -> bool:
        return host.alive(now, self.settings.lease_s) and not host.builds

    def _published(self) -> list[Stage]:
        """The published stages of which no rebuild is published, the newest first."""
        stages: dict[str, Stage] = {}
        for file in sorted(Path(self.settings.release_dir).glob("*.yaml")):
            try:
                catalog = publisher_of(file, self.settings, Silent(), self.say).current()
            except StagefarmError as error:
                self.say(f"rebuilds: {file.name}: {error}")
                continue
            for stage in catalog.stages if catalog else ():
                if rebuilds_name(stage.tarball.name) not in {one.name for one in stage.sidecars}:
                    stages.setdefault(stage.build, stage)
        return sorted(stages.values(), key=lambda stage: -stage.built_at)

    def _begin(self, record: Record) -> Note:
        """Submit the rebuild. One that the build itself does not allow is noted too, and not tried
        again."""
        note = self._write(record.id, Note(at=self.clock()))
        try:
            made = rebuild(
                record, ledger=self.ledger, app=self.app, settings=self.settings, other_host=True
            )
        except (BadInput, Untrusted) as error:
            self.say(f"rebuild of {short_id(record.id)}: {error}")
            return self._write(record.id, replace(note, outcome=str(error)))
        except StagefarmError:
            self._file(record.id).unlink(missing_ok=True)
            raise
        self.say(f"rebuild of {short_id(record.id)}: {short_id(made.id)}, on another host")
        return self._write(record.id, replace(note, rebuild=made.id))

    # Notes

    @property
    def _folder(self) -> Path:
        return Known.of(self.settings).folder / "rebuilds"

    def _file(self, build: str) -> Path:
        return self._folder / f"{build}.json"

    def _notes(self) -> dict[str, Note]:
        """What was tried, by build; notes of builds that the ledger has long forgotten go."""
        found = {}
        for file in self._folder.glob("*.json"):
            with suppress(OSError, StagefarmError):
                note = decode(file.read_bytes(), Note)
                if self.clock() - note.at > (2 * self.settings.keep_days + 1) * DAY_S:
                    file.unlink(missing_ok=True)
                else:
                    found[file.stem] = note
        return found

    def _write(self, build: str, note: Note) -> Note:
        if not NAME.fullmatch(build):
            raise BadInput(f"{build!r} cannot be the name of a file")
        try:
            with replaced(self._file(build)) as file:
                write_all(file.fileno(), encode(note))
        except OSError as error:
            raise StagefarmError(f"cannot note the rebuild of {build}: {error.strerror}") from error
        return note
