"""Makes the nights of schedules when they are due: a duty of the supervisor.

What is due follows from the files of `schedule_dir`, the time, and the last slot in the ledger.
However many supervisors look, and whenever they begin, each slot becomes one night or is skipped
for a reason that is told.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from celery import Celery

from orchestrator.farm.nights import Night, make, prepare_slot
from orchestrator.nights.files import ScheduleFile, schedules_in
from orchestrator.nights.slots import Decision, Slot, Turn, decide, due
from tasks.errors import FarmUnreachable, StagefarmError
from tasks.ledger.builds import Ledger
from tasks.ledger.schedules import Schedules, ScheduleState
from tasks.ledger.stages import counted as stages_counted
from tasks.ledger.stages import left_out
from tasks.model import encode
from tasks.settings import Settings

PAUSE_S = 60.0
"""After a night could not be made, the next try waits so long."""

TEXT_MAX = 2000
"""Of an error, so much is kept in the ledger."""


@dataclass(slots=True)
class ScheduledNights:
    settings: Settings
    ledger: Ledger
    app: Celery
    say: Callable[[str], object]
    _said: dict[str, str] = field(default_factory=dict)
    _again_at: dict[str, float] = field(default_factory=dict)
    _last: dict[str, float] = field(default_factory=dict)
    _thread: threading.Thread | None = None

    def look(self) -> None:
        """Look after the schedules in the background: to plan a large batch takes a while."""
        if not self.settings.schedule_dir or (self._thread and self._thread.is_alive()):
            return
        self._thread = threading.Thread(target=self._safely, daemon=True)
        self._thread.start()

    def _safely(self) -> None:
        try:
            self.go_on(datetime.fromtimestamp(self.ledger.now(), UTC))
            self._said.pop("", None)
        except FarmUnreachable:
            return  # the supervisor says so
        except StagefarmError as error:
            self._say_once("", f"schedules: {error}")

    def go_on(self, now: datetime) -> None:
        """Make the nights that are due by `now`. A schedule that cannot be used holds up no
        other."""
        known = set(self._schedules.names())
        files = schedules_in(Path(self.settings.schedule_dir))
        for file in files:
            try:
                self._look_at(file, now, is_known=file.name in known)
            except FarmUnreachable:
                raise
            except StagefarmError as error:
                self._say_once(file.name, f"schedule {file.name}: {error}")
        for name in known - {file.name for file in files}:
            self.say(f"schedule {name}: its file is gone")
            self._schedules.lose(name)

    @property
    def _schedules(self) -> Schedules:
        return Schedules(self.ledger.connection)

    def _look_at(self, file: ScheduleFile, now: datetime, *, is_known: bool) -> None:
        state = self._schedules.state(file.name)
        if file.error:
            broken = file.error[:TEXT_MAX]
            if not is_known or state.broken != broken:
                self._schedules.see(file.name, {"file": str(file.path), "broken": broken})
            self._say_once(file.name, f"schedule {file.name}: {file.error}")
            return
        last = self._see(file, state, now, is_known=is_known)
        if now.timestamp() < self._again_at.get(file.name, 0.0):
            return
        decision = decide(
            due(file.lines, last, now),
            now,
            goes_on=self._going_on(state),
            paused=state.is_paused(now.timestamp()),
            waits=int(state.waits),
        )
        if decision:
            self._carry_out(decision, file, state, now)

    def _see(
        self, file: ScheduleFile, state: ScheduleState, now: datetime, *, is_known: bool
    ) -> datetime:
        """Note the schedule as its file has it; returns the moment after which its slots are due.
        With new lines that is now: they catch up nothing from before they were there."""
        last = max(state.last, self._last.get(file.name, 0.0))
        told: dict[str, str | float] = {
            "file": str(file.path),
            "batch": file.batch,
            "lines": encode(file.lines).decode(),
            "broken": "",
        }
        if state.lines != told["lines"]:
            told["last"] = last = max(last, now.timestamp())
        if not is_known or any(getattr(state, name) != value for name, value in told.items()):
            self._schedules.see(file.name, told)
            if state.broken:
                self._said.pop(file.name, None)
        return datetime.fromtimestamp(min(last, now.timestamp()), UTC)

    def _going_on(self, state: ScheduleState) -> str:
        """The last night, if it has not ended."""
        if not state.night:
            return ""
        (summary,) = self.ledger.summaries([state.night])
        return "" if all(one.ended for one in summary.counts) else state.night

    def _carry_out(
        self, decision: Decision, file: ScheduleFile, state: ScheduleState, now: datetime
    ) -> None:
        slot, name = decision.slot, file.name
        if decision.turn is Turn.MAKE:
            self._make(file, slot, now)
        elif decision.turn is Turn.SKIP:
            self.say(f"schedule {name}: {_shown(slot)} is skipped: {decision.why}")
            said = f"{_shown(slot)}: {decision.why}"
            self._schedules.note(name, last=slot.seconds, said=said, waits=0, error="")
            self._last[name] = slot.seconds
        elif int(state.waits) != slot.seconds:
            self.say(f"schedule {name}: {_shown(slot)} {decision.why}")
            said = f"{_shown(slot)} {decision.why}"
            self._schedules.note(name, waits=slot.seconds, said=said)

    def _make(self, file: ScheduleFile, slot: Slot, now: datetime) -> None:
        try:
            night = prepare_slot(file, slot, self.ledger, self.settings)
        except FarmUnreachable:
            raise
        except StagefarmError as error:
            self._again_at[file.name] = now.timestamp() + PAUSE_S
            self._say_once(file.name, f"schedule {file.name}: {_shown(slot)} is not made: {error}")
            self._schedules.note(file.name, error=str(error)[:TEXT_MAX])
            return
        is_ours = make(night, self.ledger, self.app)
        self._last[file.name] = slot.seconds
        self._said.pop(file.name, None)
        if is_ours:
            self.say(f"schedule {file.name}: {night.id}, {_described(night)}")

    def _say_once(self, name: str, text: str) -> None:
        """Say it unless it was the last that was said of that schedule."""
        if self._said.get(name) != text:
            self._said[name] = text
            self.say(text)


def counted(builds: int) -> str:
    """`1 build`, `2 builds`."""
    return f"{builds} build{'s' * (builds != 1)}"


def _described(night: Night) -> str:
    """How much is built of which commits, and what is left out."""
    made_of = [
        f"{one.name} at {one.commit[:12]}" for build in night.builds[:1] for one in build.inputs
    ]
    gone = stages_counted(left_out(night.stages))
    return ", ".join(filter(None, (counted(len(night.builds)), *made_of, gone)))


def _shown(slot: Slot) -> str:
    return f"the night of {slot.at:%Y-%m-%d %H:%M %Z}"
