"""Formats times by a Go layout, which shows how the time
`Mon Jan 2 15:04:05 MST 2006` would be written."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from orchestrator.helm.gotime import LOCAL, MONTHS, UTC_ZONE, WEEKDAYS

if TYPE_CHECKING:
    from orchestrator.helm.gotime import Time

# The elements of a layout; at each position the first match wins.
ELEMENT = re.compile(
    r"January|Jan(?![a-z])|Monday|Mon(?![a-z])|MST|0[1-6]|002|15|1|2006|2"
    r"|_(?=2006)(?P<literal>)|_2|__2|3|4|5|PM|pm"
    r"|-070000|-07:00:00|-0700|-07:00|-07|Z070000|Z07:00:00|Z0700|Z07:00|Z07"
    r"|[.,](?:0+|9+)(?![0-9])"
)


def format_time(moment: Time, layout: str) -> str:
    fields = Fields(moment)

    def shown(found: re.Match[str]) -> str:
        return found[0] if found["literal"] is not None else fields.show(found[0])

    return ELEMENT.sub(shown, layout)


class Fields:
    """The parts of one time, in its zone."""

    def __init__(self, moment: Time) -> None:
        self.year, self.month, self.day = moment.ymd()
        self.hour, self.minute, self.second = moment.clock()
        self.weekday = WEEKDAYS[moment.weekday()]
        self.year_day = moment.year_day()
        self.nanosecond = moment.nanosecond
        self.zone, self.offset_s = moment.zone_at()

    def show(self, element: str) -> str:
        if element in SHOWN:
            return SHOWN[element](self)
        if element[0] in ".,":
            return self.fraction(element)
        return "Z" if element[0] == "Z" and self.offset_s == 0 else self.offset(element[1:])

    def fraction(self, element: str) -> str:
        digits = f"{self.nanosecond:09d}"[: len(element) - 1].ljust(len(element) - 1, "0")
        if element[1] == "9":
            digits = digits.rstrip("0")
        return element[0] + digits if digits else ""

    def offset(self, element: str) -> str:
        """`element` is `07`, `0700`, `07:00`, `070000` or `07:00:00`."""
        minutes = abs(self.offset_s) // 60
        sign = "-" if self.offset_s <= -60 else "+"
        colon = ":" if ":" in element else ""
        text = f"{sign}{minutes // 60:02d}"
        if len(element) > 2:
            text += f"{colon}{minutes % 60:02d}"
        if len(element) > 5:
            text += f"{colon}{abs(self.offset_s) % 60:02d}"
        return text

    def abbreviation(self) -> str:
        return self.zone or self.offset("0700")

    def padded_year(self) -> str:
        return f"{self.year:04d}" if self.year >= 0 else f"-{-self.year:04d}"


SHOWN: dict[str, Callable[[Fields], str]] = {
    "January": lambda it: MONTHS[it.month - 1],
    "Jan": lambda it: MONTHS[it.month - 1][:3],
    "1": lambda it: str(it.month),
    "01": lambda it: f"{it.month:02d}",
    "Monday": lambda it: it.weekday,
    "Mon": lambda it: it.weekday[:3],
    "2": lambda it: str(it.day),
    "_2": lambda it: f"{it.day:2d}",
    "02": lambda it: f"{it.day:02d}",
    "__2": lambda it: f"{it.year_day:3d}",
    "002": lambda it: f"{it.year_day:03d}",
    "15": lambda it: f"{it.hour:02d}",
    "3": lambda it: str(it.hour % 12 or 12),
    "03": lambda it: f"{it.hour % 12 or 12:02d}",
    "4": lambda it: str(it.minute),
    "04": lambda it: f"{it.minute:02d}",
    "5": lambda it: str(it.second),
    "05": lambda it: f"{it.second:02d}",
    "2006": Fields.padded_year,
    "06": lambda it: f"{abs(it.year) % 100:02d}",
    "PM": lambda it: "PM" if it.hour >= 12 else "AM",
    "pm": lambda it: "pm" if it.hour >= 12 else "am",
    "MST": Fields.abbreviation,
}


def go_syntax(moment: Time) -> str:
    """The output of `%#v`."""
    year, month, day = moment.ymd()
    hour, minute, second = moment.clock()
    name = {UTC_ZONE: "time.UTC", LOCAL: "time.Local"}.get(moment.zone)
    zone = name or f'time.Location("{moment.zone}")'
    return (
        f"time.Date({year}, time.{MONTHS[month - 1]}, {day}, {hour}, {minute}, {second}, "
        f"{moment.nanosecond}, {zone})"
    )
