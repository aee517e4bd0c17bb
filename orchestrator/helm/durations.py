"""Durations in Go's syntax: `1h15m30.5s`."""

from __future__ import annotations

import re

NANOSECOND = 1
MICROSECOND = 1000 * NANOSECOND
MILLISECOND = 1000 * MICROSECOND
SECOND = 1000 * MILLISECOND
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE

UNITS = {
    "ns": NANOSECOND,
    "us": MICROSECOND,
    "\u00b5s": MICROSECOND,
    "\u03bcs": MICROSECOND,
    "ms": MILLISECOND,
    "s": SECOND,
    "m": MINUTE,
    "h": HOUR,
}
PART = re.compile(r"(?P<whole>[0-9]*)(?P<point>\.?)(?P<fraction>[0-9]*)(?P<unit>[^0-9.]*)")
LONGEST = 2**63 - 1


def parse_duration(text: str) -> int | None:
    """Nanoseconds, or None if `text` is not a duration."""
    sign = -1 if text[:1] == "-" else 1
    rest = text[1:] if text[:1] in ("-", "+") else text
    if rest == "0":
        return 0
    total = 0
    pos = 0
    while pos < len(rest) or not rest:
        part = PART.match(rest, pos)
        assert part
        unit = UNITS.get(part["unit"])
        if unit is None or not (part["whole"] or part["fraction"]) or len(part[0]) > 100:
            return None
        total += int(part["whole"] or 0) * unit + fraction_of(part["fraction"], unit)
        pos = part.end()
    return sign * total if total <= LONGEST + (sign < 0) else None


def fraction_of(digits: str, unit: int) -> int:
    return int(int(digits[:18]) * (unit / 10 ** len(digits[:18]))) if digits else 0


def format_duration(ns: int) -> str:
    """time.Duration.String: the largest unit first, and the smallest that is needed."""
    if ns == 0:
        return "0s"
    sign, rest = ("-" if ns < 0 else ""), abs(ns)
    if rest < SECOND:
        for unit, size in (("ns", NANOSECOND), ("\u00b5s", MICROSECOND), ("ms", MILLISECOND)):
            if rest < size * 1000:
                return f"{sign}{with_fraction(rest, size)}{unit}"
    minutes, rest = divmod(rest, MINUTE)
    hours, minutes = divmod(minutes, 60)
    text = f"{with_fraction(rest, SECOND)}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return f"{sign}{f'{hours}h' if hours else ''}{text}"


def with_fraction(ns: int, unit: int) -> str:
    whole, rest = divmod(ns, unit)
    digits = str(rest).rjust(len(str(unit)) - 1, "0").rstrip("0") if rest else ""
    return f"{whole}.{digits}" if digits else str(whole)


def round_to(value: int, unit: int) -> int:
    """Duration.Round: the nearest multiple of `unit`, halves away from zero."""
    if unit <= 0:
        return value
    rest = abs(value) % unit
    moved = abs(value) - rest + (unit if rest * 2 >= unit else 0)
    return moved if value >= 0 else -moved


def truncate_to(value: int, unit: int) -> int:
    if unit <= 0:
        return value
    rest = abs(value) % unit
    return value - rest if value >= 0 else value + rest
