"""The methods of times and durations that a template may call."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.helm import durations
from orchestrator.helm.gotime import (
    DAY_S,
    LOCAL,
    UTC_ZONE,
    ZERO_NS,
    Duration,
    Location,
    Month,
    Time,
    Weekday,
    str_of,
)
from orchestrator.helm.layouts import format_time, go_syntax
from orchestrator.helm.signature import Function
from orchestrator.helm.values import Int64

# The receiver is called `it`; the template does not pass it.


def add(it: Time, span: Duration) -> Time:
    return it.moved(int(span))


def add_date(it: Time, years: int, months: int, days: int) -> Time:
    year, month, day = it.ymd()
    second = it.local_s() % DAY_S
    moved = Time.date(year + years, month + months, day + days, second, it.zone)
    return moved.moved(it.nanosecond)


def after(it: Time, other: Time) -> bool:
    return it.ns > other.ns


def before(it: Time, other: Time) -> bool:
    return it.ns < other.ns


def compare(it: Time, other: Time) -> int:
    return (it.ns > other.ns) - (it.ns < other.ns)


def equal(it: Time, other: Time) -> bool:
    return it.ns == other.ns


def format_(it: Time, layout: str) -> str:
    return format_time(it, layout)


def go_string(it: Time) -> str:
    return go_syntax(it)


def is_zero(it: Time) -> bool:
    return it.ns == ZERO_NS


def in_(it: Time, zone: Location) -> Time:
    return Time(it.ns, zone)


def round_(it: Time, unit: Duration) -> Time:
    since = it.ns - ZERO_NS
    return Time(ZERO_NS + durations.round_to(since, int(unit)), it.zone)


def truncate(it: Time, unit: Duration) -> Time:
    since = it.ns - ZERO_NS
    return Time(ZERO_NS + durations.truncate_to(since, int(unit)), it.zone)


def sub(it: Time, other: Time) -> Duration:
    return Duration(min(max(it.ns - other.ns, -(2**63)), 2**63 - 1))


METHODS: Mapping[str, Function] = {
    "Add": add,
    "AddDate": add_date,
    "After": after,
    "Before": before,
    "Compare": compare,
    "Day": lambda it: it.ymd()[2],
    "Equal": equal,
    "Format": format_,
    "GoString": go_string,
    "Hour": lambda it: it.clock()[0],
    "In": in_,
    "IsZero": is_zero,
    "Local": lambda it: Time(it.ns, LOCAL),
    "Location": lambda it: it.zone,
    "Minute": lambda it: it.clock()[1],
    "Month": lambda it: Month(it.ymd()[1]),
    "Nanosecond": lambda it: it.nanosecond,
    "Round": round_,
    "Second": lambda it: it.clock()[2],
    "String": str_of,
    "Sub": sub,
    "Truncate": truncate,
    "UTC": lambda it: Time(it.ns, UTC_ZONE),
    "Unix": lambda it: Int64(it.unix_s),
    "UnixMicro": lambda it: Int64(it.ns // 1000),
    "UnixMilli": lambda it: Int64(it.ns // 1_000_000),
    "UnixNano": lambda it: Int64(it.ns),
    "Weekday": lambda it: Weekday(it.weekday()),
    "Year": lambda it: it.ymd()[0],
    "YearDay": lambda it: it.year_day(),
}


def round_span(it: Duration, unit: Duration) -> Duration:
    return Duration(durations.round_to(int(it), int(unit)))


def truncate_span(it: Duration, unit: Duration) -> Duration:
    return Duration(durations.truncate_to(int(it), int(unit)))


def nanoseconds(it: Duration) -> Int64:
    return Int64(it)


def towards_zero(ns: int, unit: int) -> Int64:
    return Int64(abs(ns) // unit * (1 if ns >= 0 else -1))


DURATION_METHODS: Mapping[str, Function] = {
    "Abs": lambda it: Duration(abs(int(it))),
    "Hours": lambda it: int(it) / durations.HOUR,
    "Microseconds": lambda it: towards_zero(int(it), durations.MICROSECOND),
    "Milliseconds": lambda it: towards_zero(int(it), durations.MILLISECOND),
    "Minutes": lambda it: int(it) / durations.MINUTE,
    "Nanoseconds": nanoseconds,
    "Round": round_span,
    "Seconds": lambda it: int(it) / durations.SECOND,
    "String": str_of,
    "Truncate": truncate_span,
}
