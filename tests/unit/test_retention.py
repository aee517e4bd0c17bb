"""Which builds are kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.formats.reader import Count
from orchestrator.formats.releasefile import Keep
from orchestrator.release.retention import kept

START = datetime(2026, 11, 23, 12, tzinfo=UTC)  # a Monday


def keep(newest: int = 1, daily: int = 0, weekly: int = 0, monthly: int = 0) -> Keep:
    counts = {"newest": newest, "daily": daily, "weekly": weekly, "monthly": monthly}
    return Keep(**{name: Count(count) for name, count in counts.items()})  # type: ignore[arg-type]


def days_kept(rules: Keep, hours: list[float]) -> list[float]:
    """Of builds so many hours before START, those that are kept."""
    times = [(START - timedelta(hours=hour)).timestamp() for hour in hours]
    return sorted(hours[index] for index in kept(times, rules))


@pytest.mark.parametrize(
    ("rules", "found"),
    [
        (keep(newest=2), [0, 2]),
        (keep(newest=0), [0]),
        (keep(daily=3), [0, 13, 37]),
        (keep(weekly=2), [0, 13]),
        (keep(weekly=3), [0, 13, 600]),
        (keep(monthly=2), [0, 600]),
        (keep(newest=3, monthly=2), [0, 2, 4, 600]),
        (keep(daily=9), [0, 13, 37, 169, 600]),
    ],
    ids=str,
)
def test_rules_keep_the_newest_of_their_periods(rules: Keep, found: list[float]) -> None:
    assert days_kept(rules, [0, 2, 4, 13, 20, 37, 40, 169, 600]) == found


TIMES = st.lists(st.floats(min_value=0, max_value=2e9), max_size=40)
COUNTS = st.integers(min_value=0, max_value=5)


@given(TIMES, COUNTS, COUNTS, COUNTS, COUNTS)
def test_the_newest_is_kept_and_more_builds_keep_no_older_ones(
    times: list[float], newest: int, daily: int, weekly: int, monthly: int
) -> None:
    rules = keep(newest, daily, weekly, monthly)
    found = kept(times, rules)
    assert len(found) <= max(1, newest) + daily + weekly + monthly
    if times:
        assert max(times) in {times[index] for index in found}
        again = [times[index] for index in sorted(found)]
        assert kept(again, rules) == set(range(len(again))), "what is kept stays kept"
