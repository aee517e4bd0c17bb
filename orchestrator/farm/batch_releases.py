"""Publishes batches that name a release, once their builds have ended: nobody needs to be there.

The release file and its key are on the supervisor's machine; a batch, and so Redis, only names the
file. What is published is decided as by `stagefarm publish`, which runs as a process of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.farm.own_commands import run_command
from orchestrator.formats.releasefile import NAME
from orchestrator.release.known import Known
from tasks.errors import Held, StagefarmError
from tasks.host.files import replaced, write_all
from tasks.ledger.builds import Ledger
from tasks.ledger.records import Summary
from tasks.model import BuildState, short_id
from tasks.settings import Settings

RECENT = 20
"""So many of the newest batches are looked at."""

PAUSE_S, PAUSE_MAX_S = 60.0, 3600.0
"""After a failure, the next try waits so long, each time twice as long."""


@dataclass(slots=True)
class BatchReleases:
    """What was published is noted beside what this machine knows of releases: for each batch, how
    many of its builds had succeeded then. A second supervisor may publish it again, which changes
    nothing."""

    settings: Settings
    ledger: Ledger
    say: Callable[[str], object]
    _releases: dict[str, str] = field(default_factory=dict)
    _published: dict[str, str] = field(default_factory=dict)
    _again_at: dict[str, float] = field(default_factory=dict)
    _pauses: dict[str, float] = field(default_factory=dict)
    _thread: threading.Thread | None = None

    def look(self) -> None:
        """Begin to publish the next batch that has ended, unless one is being published."""
        if self._thread and self._thread.is_alive():
            return
        for batch, file in self._ended():
            if time.monotonic() >= self._again_at.get(batch.batch, 0.0):
                self._thread = threading.Thread(target=self._publish, args=(batch, file))
                self._thread.daemon = True
                self._thread.start()
                return

    def _ended(self) -> Iterator[tuple[Summary, Path]]:
        for batch in self.ledger.summaries(self.ledger.batches(RECENT)):
            done = batch.counts.get(BuildState.SUCCEEDED, 0)
            if not done or not all(state.ended for state in batch.counts):
                continue
            if (release := self._release(batch.batch)) and self._noted(batch.batch) != str(done):
                yield batch, Path(self.settings.release_dir, f"{release}.yaml")

    def _release(self, batch: str) -> str:
        """The release that the batch names, empty if none."""
        if batch not in self._releases:
            builds = self.ledger.batch(batch)
            found = self.ledger.build(builds[0]).release if builds else ""
            self._releases[batch] = found if NAME.fullmatch(found) else ""
        return self._releases[batch]

    def _publish(self, batch: Summary, file: Path) -> None:
        name = short_id(batch.batch)
        self.say(f"{name} has ended: publishing {file.name}")
        try:
            code = run_command(["publish", str(file)], lambda line: self._say_of(file.stem, line))
        except StagefarmError as error:
            self.say(f"{name}: {error}")
            code = error.exit_code
        if code not in (0, Held.exit_code):  # what is held is not published sooner by trying again
            pause = self._pauses[batch.batch] = min(
                2 * self._pauses.get(batch.batch, PAUSE_S / 2), PAUSE_MAX_S
            )
            self._again_at[batch.batch] = time.monotonic() + pause
            self.say(f"{name} could not be published, trying again in {pause:.0f} s")
        else:
            self._note(batch)

    def _say_of(self, release: str, line: str) -> None:
        self.say(f"{release}: {line}")

    def _mark(self, batch: str) -> Path:
        return Known.of(self.settings).folder / "batches" / batch

    def _noted(self, batch: str) -> str:
        if batch in self._published:
            return self._published[batch]
        try:
            return self._mark(batch).read_text()
        except OSError:
            return ""

    def _note(self, batch: Summary) -> None:
        done = self._published[batch.batch] = str(batch.counts.get(BuildState.SUCCEEDED, 0))
        try:
            with replaced(self._mark(batch.batch)) as file:
                write_all(file.fileno(), done.encode())
        except OSError as error:
            self.say(f"cannot note that {batch.batch} was published: {error.strerror}")
