"""Parses a time by a Go layout: time.ParseInLocation."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.helm.durations import SECOND
from orchestrator.helm.gotime import (
    MONTHS,
    UTC_ZONE,
    WEEKDAYS,
    FixedZone,
    Location,
    Time,
    days_of,
)
from orchestrator.helm.layouts import ELEMENT

ABBREVIATION = re.compile(r"ChST|MeST|WITA|GMT[+-][0-9]{1,2}|[A-Z]{3,5}(?![A-Z])|[+-][0-9]{2}")


class Misfit(Exception):
    """The text does not match the layout."""


@dataclass(slots=True)
class Draft:
    """A time while it is parsed."""

    text: str
    year: int = 0
    month: int | None = None
    day: int | None = None
    year_day: int | None = None
    hour: int = 0
    minute: int = 0
    second: int = 0
    nanosecond: int = 0
    is_pm: bool | None = None
    is_utc: bool = False
    offset_s: int | None = None
    zone: str = ""

    def take(self, pattern: str) -> re.Match[str]:
        found = re.match(pattern, self.text)
        if not found:
            raise Misfit
        self.text = self.text[found.end() :]
        return found

    def number(self, digits: str, low: int, high: int) -> int:
        value = int(self.take(digits)[0])
        if not low <= value <= high:
            raise Misfit
        return value

    def name(self, names: list[str]) -> int:
        """The index of the name that is next, ignoring case."""
        for index, name in enumerate(names):
            if self.text[: len(name)].lower() == name.lower():
                self.text = self.text[len(name) :]
                return index
        raise Misfit


def parse_time(layout: str, text: str, zone: Location) -> Time | None:
    """The time in `text`, in `zone` unless it names another; None if it does not match."""
    draft = Draft(text)
    try:
        read(draft, layout)
        return finished(draft, zone)
    except Misfit:
        return None


def read(draft: Draft, layout: str) -> None:
    pos = 0
    for found in ELEMENT.finditer(layout):
        if found["literal"] is not None:
            continue
        skip(draft, layout[pos : found.start()])
        pos = found.end()
        element(draft, found[0], layout[pos:])
    skip(draft, layout[pos:])
    if draft.text:
        raise Misfit


def skip(draft: Draft, literal: str) -> None:
    """Literal text of the layout; a space matches any number of spaces."""
    for char in literal:
        if char == " ":
            if draft.text and draft.text[0] != " ":
                raise Misfit
            draft.text = draft.text.lstrip(" ")
        elif draft.text[:1] != char:
            raise Misfit
        else:
            draft.text = draft.text[1:]


def element(draft: Draft, name: str, following: str) -> None:
    if name in READERS:
        READERS[name](draft)
    elif name[0] in ".,":
        fraction(draft, name)
    else:
        offset(draft, name)
    if name in ("5", "05") and re.match(r"[.,][0-9]", draft.text):
        after = ELEMENT.match(following)
        if not (after and after[0][0] in ".,"):  # the layout may omit a fraction
            set_fraction(draft, draft.take(r"[.,][0-9]+")[0])


def fraction(draft: Draft, name: str) -> None:
    if name[1] == "0":
        set_fraction(draft, draft.take(rf"[.,][0-9]{{{len(name) - 1}}}")[0])
    elif re.match(r"[.,][0-9]", draft.text):
        set_fraction(draft, draft.take(r"[.,][0-9]+")[0])


def set_fraction(draft: Draft, text: str) -> None:
    draft.nanosecond = int(text[1:10].ljust(9, "0"))


def offset(draft: Draft, name: str) -> None:
    """`name` is `-07`, `-0700`, `Z07:00` and so on."""
    if name[0] == "Z" and draft.text[:1] == "Z":
        draft.text = draft.text[1:]
        draft.is_utc = True
        return
    colon = ":" if ":" in name else ""
    parts = [r"([+-])([0-9]{2})"] + [rf"{colon}([0-9]{{2}})"] * (
        (len(name.replace(":", "")) - 3) // 2
    )
    sign, hours, *rest = draft.take("".join(parts)).groups()
    minutes, seconds = (*map(int, rest), 0, 0)[:2]
    if int(hours) > 24 or minutes > 60 or seconds > 60:
        raise Misfit
    total = (int(hours) * 60 + minutes) * 60 + seconds
    draft.offset_s = -total if sign == "-" else total


def abbreviation(draft: Draft) -> None:
    if draft.text.startswith("UTC"):
        draft.text = draft.text[3:]
        draft.is_utc = True
        return
    name = draft.take(ABBREVIATION.pattern)[0]
    if name.isalpha() and len(name) > 3 and name[-1] != "T" and name != "WITA":
        raise Misfit
    draft.zone = name


def set_year(draft: Draft) -> None:
    draft.year = int(draft.take("[0-9]{4}")[0])


def set_short_year(draft: Draft) -> None:
    year = int(draft.take("[0-9]{2}")[0])
    draft.year = year + (1900 if year >= 69 else 2000)


def set_month(names: list[str]) -> Callable[[Draft], None]:
    def reader(draft: Draft) -> None:
        draft.month = draft.name(names) + 1

    return reader


def skip_weekday(names: list[str]) -> Callable[[Draft], None]:
    def reader(draft: Draft) -> None:
        draft.name(names)

    return reader


def reader_of(field: str, digits: str, low: int, high: int) -> Callable[[Draft], None]:
    def reader(draft: Draft) -> None:
        setattr(draft, field, draft.number(digits, low, high))

    return reader


def set_half(am: str, pm: str) -> Callable[[Draft], None]:
    def reader(draft: Draft) -> None:
        draft.is_pm = draft.take(f"{am}|{pm}")[0] == pm

    return reader


ONE_OR_TWO = "[0-9]{1,2}"
TWO = "[0-9]{2}"
READERS: dict[str, Callable[[Draft], None]] = {
    "2006": set_year,
    "06": set_short_year,
    "January": set_month(MONTHS),
    "Jan": set_month([name[:3] for name in MONTHS]),
    "1": reader_of("month", ONE_OR_TWO, 1, 12),
    "01": reader_of("month", TWO, 1, 12),
    "Monday": skip_weekday(WEEKDAYS),
    "Mon": skip_weekday([name[:3] for name in WEEKDAYS]),
    "2": reader_of("day", ONE_OR_TWO, 0, 99),
    "_2": reader_of("day", " ?" + ONE_OR_TWO, 0, 99),
    "02": reader_of("day", TWO, 0, 99),
    "__2": reader_of("year_day", " {0,2}[0-9]{1,3}", 0, 999),
    "002": reader_of("year_day", "[0-9]{3}", 0, 999),
    "15": reader_of("hour", ONE_OR_TWO, 0, 23),
    "3": reader_of("hour", ONE_OR_TWO, 0, 12),
    "03": reader_of("hour", TWO, 0, 12),
    "4": reader_of("minute", ONE_OR_TWO, 0, 59),
    "04": reader_of("minute", TWO, 0, 59),
    "5": reader_of("second", ONE_OR_TWO, 0, 59),
    "05": reader_of("second", TWO, 0, 59),
    "PM": set_half("AM", "PM"),
    "pm": set_half("am", "pm"),
    "MST": abbreviation,
}


def finished(draft: Draft, zone: Location) -> Time:
    month, day = month_and_day(draft)
    if not 1 <= day <= days_of(draft.year, month + 1, 1) - days_of(draft.year, month, 1):
        raise Misfit
    second = (hour_of(draft) * 60 + draft.minute) * 60 + draft.second

    def at(place: Location) -> Time:
        return Time.date(draft.year, month, day, second, place).moved(draft.nanosecond)

    if draft.is_utc:
        return at(UTC_ZONE)
    if draft.offset_s is not None:
        moment = at(UTC_ZONE).moved(-draft.offset_s * SECOND)
        name, offset_s = zone.at(moment.unix_s)
        same = offset_s == draft.offset_s and draft.zone in ("", name)
        return Time(moment.ns, zone if same else FixedZone(draft.zone, draft.offset_s))
    if draft.zone:
        return in_abbreviated_zone(at(UTC_ZONE), draft.zone, zone)
    return at(zone)


def in_abbreviated_zone(utc: Time, name: str, zone: Location) -> Time:
    """An abbreviation is known if it is that of the local zone; otherwise it is UTC under that
    name."""
    known, offset_s = zone.at(utc.unix_s)
    if known == name:
        return Time(utc.ns - offset_s * SECOND, zone)
    offset_s = int(name[3:]) * 3600 if name.startswith("GMT") and len(name) > 3 else 0
    return Time(utc.ns, FixedZone(name, offset_s))


def hour_of(draft: Draft) -> int:
    if draft.is_pm and draft.hour < 12:
        return draft.hour + 12
    return 0 if draft.is_pm is False and draft.hour == 12 else draft.hour


def month_and_day(draft: Draft) -> tuple[int, int]:
    if draft.year_day is None:
        return draft.month or 1, 1 if draft.day is None else draft.day
    start = days_of(draft.year, 1, 1)
    length = days_of(draft.year + 1, 1, 1) - start
    if not 1 <= draft.year_day <= length:
        raise Misfit
    month = next(
        month
        for month in range(12, 0, -1)
        if days_of(draft.year, month, 1) - start < draft.year_day
    )
    day = draft.year_day - (days_of(draft.year, month, 1) - start)
    if draft.month not in (None, month) or draft.day not in (None, day):
        raise Misfit
    return month, day
