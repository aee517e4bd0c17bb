"""Sprig's functions on times. `Local` is the machine's zone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from orchestrator.helm.durations import HOUR, MINUTE, SECOND, format_duration, parse_duration
from orchestrator.helm.durations import round_to as rounded
from orchestrator.helm.errors import FunctionError
from orchestrator.helm.gotime import LOCAL, UTC_ZONE, ZERO, Time, load_location, unix
from orchestrator.helm.layouts import format_time
from orchestrator.helm.signature import Function
from orchestrator.helm.values import Int64, Sized

if TYPE_CHECKING:
    from orchestrator.helm.interpreter import Run

DAY = 24 * HOUR


def now(run: Run) -> Time:
    return run.now


def moment_of(run: Run, value: object) -> Time:
    """A time, or seconds since 1970; anything else is now."""
    if isinstance(value, Time):
        return value
    if is_seconds(value):
        assert isinstance(value, int)
        return unix(int(value))
    return run.now


def is_seconds(value: object) -> bool:
    plain = isinstance(value, int) and not isinstance(value, bool | Sized)
    return plain or type(value) is Int64


def date(run: Run, layout: str, value: object) -> str:
    return date_in_zone(run, layout, value, "Local")


def date_in_zone(run: Run, layout: str, value: object, zone: str) -> str:
    location = load_location(zone) or UTC_ZONE
    return format_time(Time(moment_of(run, value).ns, location), layout)


def html_date(run: Run, value: object) -> str:
    return date_in_zone(run, "2006-01-02", value, "Local")


def html_date_in_zone(run: Run, value: object, zone: str) -> str:
    return date_in_zone(run, "2006-01-02", value, zone)


def date_modify(change: str, moment: Time) -> Time:
    return moment.moved(parse_duration(change) or 0)


def must_date_modify(change: str, moment: Time) -> Time:
    ns = parse_duration(change)
    if ns is None:
        raise FunctionError(f'time: invalid duration "{change}"', "one looks like -1h30m")
    return moment.moved(ns)


def to_date(layout: str, text: str) -> Time:
    from orchestrator.helm.timeparser import parse_time

    return parse_time(layout, text, LOCAL) or ZERO


def must_to_date(layout: str, text: str) -> Time:
    from orchestrator.helm.timeparser import parse_time

    moment = parse_time(layout, text, LOCAL)
    if moment is None:
        raise FunctionError(
            f'parsing time "{text}" as "{layout}": they do not match',
            "a layout shows how Mon Jan 2 15:04:05 MST 2006 would be written",
        )
    return moment


def unix_epoch(moment: Time) -> str:
    return str(moment.unix_s)


def ago(run: Run, value: object) -> str:
    return format_duration(rounded(run.now.ns - moment_of(run, value).ns, SECOND))


def duration(value: object) -> str:
    """Seconds to a duration."""
    is_number = isinstance(value, str) and re.fullmatch(r"[-+]?[0-9]{1,19}", value, re.ASCII)
    seconds = int(str(value)) if is_number or type(value) is Int64 else 0
    return format_duration(int(Int64.wrap(seconds * SECOND)))


UNITS = (
    ("y", 365 * DAY),
    ("mo", 30 * DAY),
    ("d", DAY),
    ("h", HOUR),
    ("m", MINUTE),
    ("s", SECOND),
)


def duration_round(run: Run, value: object) -> str:
    """The largest unit of a duration, or of the time since then."""
    ns = abs(span_of(run, value))
    return next((f"{ns // size}{unit}" for unit, size in UNITS if ns > size), "0s")


def span_of(run: Run, value: object) -> int:
    if isinstance(value, str):
        return parse_duration(value) or 0
    if isinstance(value, Time):
        return run.now.ns - value.ns
    return int(value) if type(value) is Int64 else 0


FUNCTIONS: Mapping[str, Function] = {
    "ago": ago,
    "date": date,
    "dateInZone": date_in_zone,
    "dateModify": date_modify,
    "date_in_zone": date_in_zone,
    "date_modify": date_modify,
    "duration": duration,
    "durationRound": duration_round,
    "htmlDate": html_date,
    "htmlDateInZone": html_date_in_zone,
    "mustDateModify": must_date_modify,
    "mustToDate": must_to_date,
    "must_date_modify": must_date_modify,
    "now": now,
    "toDate": to_date,
    "unixEpoch": unix_epoch,
}
