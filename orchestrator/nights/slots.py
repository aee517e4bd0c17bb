"""When the nights of a schedule are due, and what becomes of those that are. Pure: the time is an
argument.

A slot is one moment at which a night is due, as `cronsim` counts it (Debian's cron): a line with a
fixed minute and hour has each wall-clock time once, on days when the clock changes too. A time that
the clock leaves out comes right after the gap, one that it repeats counts the first time. Where
minute or hour begin with `*`, the line follows elapsed time.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import islice
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from orchestrator.formats.batchfile import Line, Missed, Overlap
from tasks.model import slug_of

LATE_S = 600.0
"""A slot that nobody has looked at for so long was missed."""

LOOK_BACK = timedelta(days=370)
"""Slots before that are not caught up."""

FIELDS = 5


@dataclass(frozen=True, slots=True)
class Slot:
    """A moment, in the time zone of the line that has it."""

    at: datetime
    line: Line

    @property
    def seconds(self) -> int:
        return int(self.at.timestamp())


class Turn(StrEnum):
    MAKE = "make"
    WAIT = "wait"
    SKIP = "skip"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What becomes of `slot`, the newest that is due, and why; older ones are skipped."""

    slot: Slot
    turn: Turn
    why: str = ""


def problem_of(line: Line) -> tuple[str, str, str]:
    """The key of `line` that cannot be used, what is wrong, and a hint; empty if nothing is."""
    try:
        zone = ZoneInfo(line.timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        hint = "a name of the tz database, such as Europe/Berlin"
        return "timezone", f"{line.timezone!r} is not a time zone", hint
    hint = 'five fields: minute, hour, day, month, weekday, such as "30 2 * * *"'
    if len(line.cron.split()) != FIELDS:
        return "cron", f"{line.cron!r} is not a line of cron", hint
    try:
        next(CronSim(line.cron, datetime(2024, 1, 1, tzinfo=zone)))
    except CronSimError as error:
        return "cron", f"{line.cron!r} is not a line of cron: {error}", hint
    except StopIteration:
        return "cron", f"{line.cron!r} never comes", hint
    return "", "", ""


def slots(lines: Sequence[Line], after: datetime) -> Iterator[Slot]:
    """The slots of `lines` after a moment, without end, each once: of lines that share a moment,
    the first has it."""
    each = (_of(line, after) for line in lines)
    earlier = 0
    for slot in heapq.merge(*each, key=lambda slot: slot.seconds):
        if slot.seconds > earlier:
            earlier = slot.seconds
            yield slot


def _of(line: Line, after: datetime) -> Iterator[Slot]:
    """Counted from within an hour that the clock repeats, cronsim begins with the first time of it.
    Moments are compared as seconds: datetimes of one zone compare as the clock on the wall shows
    them."""
    earlier = after.timestamp()
    for at in CronSim(line.cron, after.astimezone(ZoneInfo(line.timezone))):
        slot = Slot(at, line)
        if slot.seconds > earlier:
            yield slot


def due(lines: Sequence[Line], last: datetime, now: datetime) -> list[Slot]:
    """The slots after `last` that have come by `now`."""
    found: list[Slot] = []
    for slot in slots(lines, max(last, now - LOOK_BACK)):
        if slot.seconds > now.timestamp():
            break
        found.append(slot)
    return found


def coming(lines: Sequence[Line], now: datetime, count: int) -> list[Slot]:
    """The next slots after `now`."""
    return list(islice(slots(lines, now), count))


def decide(
    found: Sequence[Slot],
    now: datetime,
    *,
    goes_on: str = "",
    paused: bool = False,
    waits: int = 0,
) -> Decision | None:
    """What becomes of the slots that are due; None if none is. `goes_on` is the night before, if it
    has not ended; `waits` is the slot that waits for that, in seconds since 1970."""
    if not found:
        return None
    slot = found[-1]
    late_s = now.timestamp() - slot.seconds
    if paused:
        return Decision(slot=slot, turn=Turn.SKIP, why="the schedule was paused")
    if late_s > LATE_S and slot.seconds != waits and slot.line.missed is Missed.SKIP:
        return Decision(slot=slot, turn=Turn.SKIP, why="no supervisor looked at it in time")
    if goes_on and slot.line.overlap is Overlap.SKIP:
        return Decision(slot=slot, turn=Turn.SKIP, why=f"{goes_on} had not ended")
    if goes_on and slot.line.overlap is Overlap.WAIT:
        return Decision(slot=slot, turn=Turn.WAIT, why=f"waits for the end of {goes_on}")
    return Decision(slot=slot, turn=Turn.MAKE)


def night_id(batch: str, at: datetime) -> str:
    """The id of the night of a batch at a moment, such as `nightly-20261127T0130Z`: in UTC, so that
    no two moments share one. One that was begun by hand has seconds too."""
    utc = at.astimezone(UTC)
    clock = f"{utc:%H%M%S}" if utc.second else f"{utc:%H%M}"
    return f"{slug_of(batch) or 'batch'}-{utc:%Y%m%d}T{clock}Z"
