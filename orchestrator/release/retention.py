"""Which builds of a stage are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

from orchestrator.formats.releasefile import Keep


def kept(times: Sequence[float], keep: Keep) -> set[int]:
    """The indexes of the builds to keep, of those that were built at `times` (in seconds since
    1970): the newest, and what the rules of `keep` name."""
    newest_first = sorted(range(len(times)), key=lambda index: -times[index])
    found = set(newest_first[: max(1, keep.newest)])
    for count, period in ((keep.daily, _day), (keep.weekly, _week), (keep.monthly, _month)):
        found |= set(_newest_of_each(newest_first, times, count, period))
    return found


Period = Callable[[datetime], tuple[int, ...]]


def _newest_of_each(
    newest_first: Sequence[int], times: Sequence[float], count: int, period: Period
) -> Iterator[int]:
    seen: set[tuple[int, ...]] = set()
    for index in newest_first:
        when = period(datetime.fromtimestamp(times[index], UTC))
        if when not in seen:
            if len(seen) >= count:
                return
            seen.add(when)
            yield index


def _day(moment: datetime) -> tuple[int, ...]:
    return moment.year, moment.month, moment.day


def _week(moment: datetime) -> tuple[int, ...]:
    return tuple(moment.isocalendar()[:2])


def _month(moment: datetime) -> tuple[int, ...]:
    return moment.year, moment.month
