"""Terminal output of `follow`: a live table on a terminal, else a line for each change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from threading import Event
from typing import TYPE_CHECKING

from orchestrator.display.table import builds_table, stage_of
from tasks.errors import FarmUnreachable
from tasks.ledger.builds import Ledger
from tasks.ledger.events import Events
from tasks.ledger.records import Record
from tasks.model import BuildState, short_id

if TYPE_CHECKING:
    from rich.console import Console

TICK_S = 1.0
PROGRESS_TICKS = 3
"""No event tells of progress within a step, so what runs is read after so many ticks."""


class Follower:
    """Watches `builds` until all have ended; while Redis does not answer, it waits."""

    def __init__(self, ledger: Ledger, builds: Sequence[str]) -> None:
        self.ledger = ledger
        self.events = Events(ledger.connection)
        self.records: dict[str, Record] = {}
        self.builds = list(builds)
        self.now = 0.0
        self._position = ""
        self._ticks = 0

    def changes(self) -> Iterator[list[Record]]:
        """Every TICK_S seconds, the records that have changed."""
        pause = Event()
        while True:
            try:
                yield self._changed()
            except FarmUnreachable:
                self._position = ""  # whatever happened meanwhile, read everything again
                yield []
            if all(record.state.ended for record in self.records.values()) and self.records:
                return
            pause.wait(TICK_S)

    def _changed(self) -> list[Record]:
        changes = self.events.since(self._position)
        found = self.ledger.records(self._to_read(changes.builds))
        changed = [record for record in found if self.records.get(record.id) != record]
        self.records |= {record.id: record for record in found}
        self._position, self.now = changes.position, changes.now
        return changed

    def _to_read(self, named: frozenset[str] | None) -> list[str]:
        """The builds of which there may be news: all that have not ended if nobody can say, else
        those that the events name, what they release, and now and then what runs."""
        open_ones = [
            b for b in self.builds if b not in self.records or not self.records[b].state.ended
        ]
        self._ticks += 1
        if named is None:
            return open_ones
        poll = self._ticks % PROGRESS_TICKS == 0
        return [
            record.id
            for record in map(self.records.__getitem__, open_ones)
            if not named.isdisjoint((record.id, record.after))
            or (poll and record.state is BuildState.RUNNING)
        ]


def follow(ledger: Ledger, builds: Sequence[str], console: Console) -> list[Record]:
    """Show `builds` until all have ended, and return their records. Ctrl-C does not stop them."""
    follower = Follower(ledger, builds)
    if console.is_terminal:
        _live(follower, console)
    else:
        _plain(follower, console)
    return [follower.records[build] for build in builds]


def _live(follower: Follower, console: Console) -> None:
    from rich.live import Live

    with Live(console=console, refresh_per_second=4) as live:
        for _ in follower.changes():
            shown = [follower.records[b] for b in follower.builds if b in follower.records]
            table = builds_table(shown, follower.now, width=console.width, room=console.height - 4)
            live.update(table)


def _plain(follower: Follower, console: Console) -> None:
    said: dict[str, str] = {}
    for changed in follower.changes():
        for record in changed:
            if said.get(record.id) != (stage := stage_of(record)):
                console.print(f"{short_id(record.id)}: {stage}", markup=False, highlight=False)
                said[record.id] = stage


def failed(records: Sequence[Record]) -> list[Record]:
    """Those that did not succeed and are not optional."""
    return [r for r in records if r.state is not BuildState.SUCCEEDED and not r.optional]
