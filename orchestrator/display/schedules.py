"""Schedules as a table, and one of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
from rich.markup import escape
from rich.table import Table

from orchestrator.display.printable import plain
from tasks.ledger.schedules import FOREVER, ScheduleState
from tasks.ledger.stages import LeftOut, StageState, counted, left_out


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A schedule as it is shown: its lines as text, the next slot of each kind in its own zone."""

    state: ScheduleState
    lines: tuple[str, ...]
    next: datetime | None
    now: float
    stages: tuple[StageState, ...] = ()

    @property
    def word(self) -> str:
        """`broken`, `paused`, `failing`, `waiting`, or `on`."""
        if self.state.broken:
            return "broken"
        if self.state.is_paused(self.now):
            return "paused"
        if self.state.error:
            return "failing"
        return "waiting" if self.state.waits else "on"


def schedules_table(schedules: Sequence[Shown]) -> Table:
    """One line per schedule, with its problem below its last night."""
    table = Table(show_edge=False, box=None, pad_edge=False)
    for title in ("schedule", "state", "when", "next", "last night"):
        table.add_column(title, overflow="fold")
    for one in schedules:
        table.add_row(
            _text(one.state.name),
            one.word,
            _text("\n".join(one.lines)),
            clock(one.next) if one.next and not one.state.broken else "",
            _text("\n".join(filter(None, (one.state.night, *_problems(one))))),
        )
    return table


def told(one: Shown) -> Iterator[str]:
    """What is known of a schedule, line by line."""
    state = one.state
    about = {
        "state": one.word,
        "paused until": _until(one),
        "file": state.file,
        "batch": state.batch,
        "when": "; ".join(one.lines),
        "next": clock(one.next) if one.next else "",
        "last night": state.night,
        "made": clock(datetime.fromtimestamp(state.made, UTC)) if state.made else "",
        "last slot": state.said,
        "error": state.broken or state.error,
    }
    yield from (f"{name:12}  {plain(value)}" for name, value in about.items() if value)
    gone = left_out(one.stages)
    yield from (f"{'left out':12}  {plain(described(stage))}" for stage in gone)


def as_values(one: Shown) -> Mapping[str, object]:
    """A schedule as values for JSON."""
    state = one.state
    return {
        "name": state.name,
        "state": one.word,
        "paused_until": _until(one) or None,
        "file": state.file,
        "batch": state.batch,
        "schedule": list(one.lines),
        "next": one.next.isoformat() if one.next else None,
        "night": state.night or None,
        "made": state.made or None,
        "said": state.said,
        "error": state.broken or state.error,
        "stages": msgspec.to_builtins(one.stages),
    }


def described(stage: LeftOut) -> str:
    """A stage that was not built, and why."""
    return f"{stage.stage}: {stage.standing}, {stage.said}"


def clock(moment: datetime) -> str:
    return f"{moment:%a %Y-%m-%d %H:%M %Z}"


def _until(one: Shown) -> str:
    if not one.state.is_paused(one.now):
        return ""
    if one.state.paused == FOREVER:
        return "resumed"
    return datetime.fromtimestamp(one.state.paused, UTC).isoformat(timespec="minutes")


def _problems(one: Shown) -> list[str]:
    gone = counted(left_out(one.stages))
    said = gone and f"not built: {gone}"
    return [text for text in (one.state.broken or one.state.error, said) if text]


def _text(value: str) -> str:
    return escape(plain(value))
