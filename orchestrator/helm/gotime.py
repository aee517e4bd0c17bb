"""Go's time.Time, time.Duration, time.Month and time.Weekday, as templates see them."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

from orchestrator.helm.durations import SECOND, format_duration
from orchestrator.helm.values import Int64, NilPointer, Opaque, Sized, Struct, Uint64, Verbatim

if TYPE_CHECKING:
    from orchestrator.helm.signature import Function

DAY_S = 86_400
EPOCH_DAY = 719_162  # days from 1 January of year 1 to 1970
ZERO_NS = -EPOCH_DAY * DAY_S * SECOND
MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
WEEKDAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Location(Opaque):
    """A time zone: has an abbreviation and an offset in seconds at each time."""

    go_type = "*time.Location"
    kind = "ptr"

    def __init__(self, name: str) -> None:
        self.name = name

    def __str__(self) -> str:
        return self.name

    def at(self, unix_s: int) -> tuple[str, int]:
        return self.name, 0

    def in_json(self) -> object:
        return {}

    def methods(self) -> Mapping[str, Function]:
        return {"String": str_of}


class FixedZone(Location):
    def __init__(self, name: str, offset_s: int) -> None:
        super().__init__(name)
        self.offset_s = offset_s

    def at(self, unix_s: int) -> tuple[str, int]:
        return self.name, self.offset_s


class LocalZone(Location):
    """The machine's zone, from `TZ` or /etc/localtime."""

    def __str__(self) -> str:
        name = os.environ.get("TZ")
        return self.name if name is None else name.removeprefix(":") or "UTC"

    def at(self, unix_s: int) -> tuple[str, int]:
        try:
            local = time.localtime(unix_s)
        except (OverflowError, OSError, ValueError):
            return "UTC", 0
        return local.tm_zone, local.tm_gmtoff


class NamedZone(Location):
    """A zone of the IANA database, such as `Europe/Rome`."""

    def __init__(self, name: str, zone: tzinfo) -> None:
        super().__init__(name)
        self.zone = zone

    def at(self, unix_s: int) -> tuple[str, int]:
        try:
            moment = datetime.fromtimestamp(unix_s, self.zone)
        except (OverflowError, OSError, ValueError):
            return "UTC", 0
        offset = moment.utcoffset()
        return moment.tzname() or "", int(offset.total_seconds()) if offset else 0


UTC_ZONE = FixedZone("UTC", 0)
LOCAL = LocalZone("Local")


@lru_cache(maxsize=64)
def load_location(name: str) -> Location | None:
    """time.LoadLocation: None for an unknown zone."""
    if name in ("", "UTC"):
        return UTC_ZONE
    if name == "Local":
        return LOCAL
    from zoneinfo import ZoneInfo

    try:
        return NamedZone(name, ZoneInfo(name))
    except (KeyError, OSError, ValueError):
        return None


def civil(days: int) -> tuple[int, int, int]:
    """Year, month and day of so many days after 1970, in the proleptic Gregorian calendar."""
    days += EPOCH_DAY + 306  # from 1 March of year 0
    era, rest = divmod(days, 146_097)
    year = (rest - rest // 1460 + rest // 36_524 - rest // 146_096) // 365
    day = rest - (365 * year + year // 4 - year // 100)
    month = (5 * day + 2) // 153
    return (
        year + era * 400 + (month >= 10),
        month + 3 if month < 10 else month - 9,
        day - (153 * month + 2) // 5 + 1,
    )


def days_of(year: int, month: int, day: int) -> int:
    """Days from 1970 to that day; a month or day out of range overflows into the next."""
    year, month = year + (month - 1) // 12, (month - 1) % 12 + 1
    year -= month <= 2
    shifted = (month + 9) % 12
    day_of_year = (153 * shifted + 2) // 5 + day - 1
    leaps = year // 4 - year // 100 + year // 400
    return 365 * year + leaps + day_of_year - EPOCH_DAY - 306


@dataclass(frozen=True, slots=True, eq=False)
class Time(Opaque):
    """A time in nanoseconds since 1970, and the zone in which it is shown."""

    go_type: ClassVar[str] = "time.Time"

    ns: int
    zone: Location

    @classmethod
    def of(cls, moment: datetime) -> Time:
        """A datetime; without a zone it is local time. A zone with the local offset is the local
        zone, as in Go."""
        if moment.tzinfo is None:
            moment = moment.astimezone()
        elapsed = moment - EPOCH
        ns = (elapsed.days * DAY_S + elapsed.seconds) * SECOND + elapsed.microseconds * 1000
        offset = moment.utcoffset()
        offset_s = int(offset.total_seconds()) if offset else 0
        if moment.tzinfo is UTC:
            return cls(ns, UTC_ZONE)
        if LOCAL.at(ns // SECOND)[1] == offset_s:
            return cls(ns, LOCAL)
        return cls(ns, FixedZone("", offset_s) if offset_s else UTC_ZONE)

    @classmethod
    def now(cls) -> Time:
        return cls(time.time_ns(), LOCAL)

    @classmethod
    def date(cls, year: int, month: int, day: int, second_of_day: int, zone: Location) -> Time:
        """That day and second in `zone`."""
        local = days_of(year, month, day) * DAY_S + second_of_day
        offset = zone.at(local)[1]
        offset = zone.at(local - offset)[1]
        return cls((local - offset) * SECOND, zone)

    @property
    def unix_s(self) -> int:
        return self.ns // SECOND

    @property
    def nanosecond(self) -> int:
        return self.ns % SECOND

    def zone_at(self) -> tuple[str, int]:
        return self.zone.at(self.unix_s)

    def local_s(self) -> int:
        return self.unix_s + self.zone_at()[1]

    def ymd(self) -> tuple[int, int, int]:
        return civil(self.local_s() // DAY_S)

    def clock(self) -> tuple[int, int, int]:
        second = self.local_s() % DAY_S
        return second // 3600, second // 60 % 60, second % 60

    def weekday(self) -> int:
        return (self.local_s() // DAY_S + 4) % 7

    def year_day(self) -> int:
        return self.local_s() // DAY_S - days_of(self.ymd()[0], 1, 1) + 1

    def moved(self, ns: int) -> Time:
        return Time(self.ns + ns, self.zone)

    def __str__(self) -> str:
        from orchestrator.helm.layouts import format_time

        return format_time(self, "2006-01-02 15:04:05.999999999 -0700 MST")

    def go_syntax(self) -> str:
        from orchestrator.helm.layouts import go_syntax

        return go_syntax(self)

    def inside(self) -> object:
        """The value for verbs that are not for strings."""
        seconds = self.unix_s + EPOCH_DAY * DAY_S
        fields: dict[str, object] = {
            "wall": Uint64(self.nanosecond),
            "ext": Int64(seconds),
            "loc": NilPointer("*time.Location"),
        }
        return Struct("time.Time", fields)

    def in_json(self) -> object:
        from orchestrator.helm.layouts import format_time

        return format_time(self, "2006-01-02T15:04:05.999999999Z07:00")

    def in_yaml(self) -> object:
        return Verbatim(self.in_json())

    def methods(self) -> Mapping[str, Function]:
        from orchestrator.helm.timemethods import METHODS

        return METHODS

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Time) and self.ns == other.ns and str(self.zone) == str(other.zone)

    def __hash__(self) -> int:
        return hash(self.ns)


ZERO = Time(ZERO_NS, UTC_ZONE)


class Named(Sized, Opaque):
    """An integer with a `String` method."""

    def inside(self) -> object:
        return int(self)

    def in_json(self) -> object:
        return int(self)

    def in_yaml(self) -> object:
        return int(self)


class Duration(Named):
    """A duration in nanoseconds."""

    go_type = "time.Duration"
    kind = "int64"

    def __str__(self) -> str:
        return format_duration(int(self))

    def in_yaml(self) -> object:
        return str(self)

    def methods(self) -> Mapping[str, Function]:
        from orchestrator.helm.timemethods import DURATION_METHODS

        return DURATION_METHODS


class Month(Named):
    go_type = "time.Month"
    kind = "int"

    def __str__(self) -> str:
        return MONTHS[self - 1] if 1 <= self <= 12 else f"%!Month({int(self)})"

    def methods(self) -> Mapping[str, Function]:
        return {"String": str_of}


class Weekday(Named):
    go_type = "time.Weekday"
    kind = "int"

    def __str__(self) -> str:
        return WEEKDAYS[self] if 0 <= self <= 6 else f"%!Weekday({int(self)})"

    def methods(self) -> Mapping[str, Function]:
        return {"String": str_of}


def str_of(it: Opaque) -> str:
    """The method `String`."""
    return str(it)


def unix(seconds: int) -> Time:
    return Time(seconds * SECOND, LOCAL)
