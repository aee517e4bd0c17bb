"""Each slot of a schedule is due once, whenever somebody looks, also when the clock changes."""

from __future__ import annotations

import re
from dataclasses import MISSING
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.formats.batchfile import BatchInput, Failures, Line, Missed, Overlap
from orchestrator.formats.reader import fields_of
from orchestrator.formats.releasefile import Selection
from orchestrator.nights.files import schedule_named, schedules_in
from orchestrator.nights.slots import LATE_S, Slot, Turn, coming, decide, due, night_id, slots
from orchestrator.release.taking import selection_of
from tasks.errors import BadInput

ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC")
CRONS = (
    "30 2 * * *",
    "0,30 1,2,3 * * *",
    "15 0 * * 1-5",
    "0 */6 * * *",
    "30 3 1 * *",
    "*/45 2 * * *",
)
BEGIN, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")

lines = st.lists(
    st.builds(Line, cron=st.sampled_from(CRONS), timezone=st.sampled_from(ZONES)),
    min_size=1,
    max_size=2,
).map(tuple)
moments = st.integers(int(BEGIN.timestamp()), int(END.timestamp()) - 1).map(
    lambda seconds: datetime.fromtimestamp(seconds, UTC)
)


@cache
def of_the_year(lines: tuple[Line, ...]) -> list[int]:
    return [slot.seconds for slot in due(lines, BEGIN - timedelta(seconds=1), END)]


@settings(max_examples=15, deadline=None)
@given(lines, st.lists(moments, max_size=40))
def test_each_slot_of_a_year_comes_once_whenever_somebody_looks(
    lines: tuple[Line, ...], looks: list[datetime]
) -> None:
    found, last = list[int](), BEGIN - timedelta(seconds=1)
    for now in [*sorted(looks), END]:
        found += [slot.seconds for slot in due(lines, last, now)]
        last = now
    assert found == of_the_year(lines)
    assert len(found) == len(set(found))


@settings(max_examples=25, deadline=None)
@given(lines, moments)
def test_what_comes_next_does_not_depend_on_when_one_begins(
    lines: tuple[Line, ...], moment: datetime
) -> None:
    expected = [slot for slot in of_the_year(lines) if slot > moment.timestamp()][:3]
    assert [slot.seconds for slot in coming(lines, moment, 3)][: len(expected)] == expected


@pytest.mark.parametrize("moment", ["2026-10-25T00:10Z", "2026-10-25T01:10Z"])
def test_a_start_within_the_hour_that_comes_twice_repeats_nothing(moment: str) -> None:
    """At 02:10 in Berlin, the first and the second time."""
    (first,) = coming([Line(cron="30 2 * * *", timezone="Europe/Berlin")], _at(moment), 1)
    day = 25 if moment.startswith("2026-10-25T00") else 26
    assert f"{first.at:%d %H:%M}" == f"{day} 02:30"


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def days_of(line: Line, month: int) -> list[str]:
    begin = datetime(2026, month, 1, tzinfo=ZoneInfo(line.timezone)) - timedelta(seconds=1)
    found = due([line], begin, datetime(2026, month + 1, 1, tzinfo=ZoneInfo(line.timezone)))
    return [f"{slot.at:%d %H:%M}" for slot in found if slot.at.month == month]


def test_a_time_that_the_clock_leaves_out_comes_right_after_the_gap() -> None:
    found = days_of(Line(cron="30 2 * * *", timezone="Europe/Berlin"), 3)
    assert found == [f"{day:02} {'03:00' if day == 29 else '02:30'}" for day in range(1, 32)]


def test_a_time_that_the_clock_repeats_comes_once_the_first_time() -> None:
    line = Line(cron="30 2 * * *", timezone="Europe/Berlin")
    assert days_of(line, 10) == [f"{day:02} 02:30" for day in range(1, 32)]
    (slot,) = due([line], _at("2026-10-24T12:00Z"), _at("2026-10-25T12:00Z"))
    assert slot.at.astimezone(UTC) == _at("2026-10-25T00:30Z")


@pytest.mark.parametrize("month", [3, 10])
def test_a_zone_that_does_not_change_its_clock_has_the_same_time_each_day(month: int) -> None:
    line = Line(cron="30 2 * * *", timezone="Asia/Kolkata")
    assert days_of(line, month) == [f"{day:02} 02:30" for day in range(1, 32)]


def test_a_line_with_a_star_follows_elapsed_time() -> None:
    line = Line(cron="*/30 * * * *", timezone="Europe/Berlin")
    assert len(due([line], _at("2026-10-24T22:00Z"), _at("2026-10-25T23:00Z"))) == 50


def test_a_moment_that_two_lines_share_is_one_night() -> None:
    both = [Line(cron="0 2 * * *"), Line(cron="0 3 * * *", timezone="Europe/Berlin")]
    found = due(both, _at("2026-01-05T00:00Z"), _at("2026-01-06T00:00Z"))
    assert [slot.line for slot in found] == both[:1]


def test_what_was_missed_for_years_is_looked_for_one_year_back() -> None:
    found = due([Line(cron="0 0 1 * *")], datetime.fromtimestamp(0, UTC), _at("2026-06-15T00:00Z"))
    assert [f"{slot.at:%Y-%m}" for slot in found][:1] == ["2025-07"]
    assert len(found) == 12


def test_nights_are_named_by_their_moment_in_utc() -> None:
    twice = [datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=fold) for fold in (0, 1)]
    assert [night_id("my nightly", at) for at in twice] == [
        "my-nightly-20261025T0030Z",
        "my-nightly-20261025T0130Z",
    ]
    assert night_id("n", _at("2026-11-27T01:30:15Z")) == "n-20261127T013015Z"


# Which of them is made

NOW = _at("2026-01-05T02:30:05Z")


def found(now: datetime = NOW, days: int = 1, **line: object) -> list[Slot]:
    one = Line(cron="30 2 * * *", **line)  # type: ignore[arg-type]
    return due([one], now - timedelta(days=days), now)


def test_nothing_is_decided_of_nothing() -> None:
    assert decide([], NOW) is None


def turn(slots: list[Slot], now: datetime = NOW, **about: object) -> tuple[Turn, str]:
    decision = decide(slots, now, **about)  # type: ignore[arg-type]
    assert decision
    assert decision.slot == slots[-1]
    return decision.turn, decision.why


LATE = NOW + timedelta(seconds=LATE_S)


def test_of_several_that_were_missed_the_newest_is_made_or_none() -> None:
    several = found(LATE, days=5)
    assert len(several) == 5
    assert turn(several, LATE) == (Turn.MAKE, "")
    assert turn(found(LATE, missed=Missed.SKIP), LATE)[0] is Turn.SKIP
    assert turn(found(missed=Missed.SKIP)) == (Turn.MAKE, "")


def test_a_night_that_waits_was_not_missed() -> None:
    (slot,) = slots_ = found(LATE, missed=Missed.SKIP, overlap=Overlap.WAIT)
    assert turn(slots_, LATE, waits=slot.seconds) == (Turn.MAKE, "")
    assert turn(slots_, LATE, waits=slot.seconds, goes_on="n-1")[0] is Turn.WAIT


@pytest.mark.parametrize(
    ("overlap", "expected"),
    [(Overlap.SKIP, Turn.SKIP), (Overlap.WAIT, Turn.WAIT), (Overlap.ALLOW, Turn.MAKE)],
)
def test_the_night_before_goes_on(overlap: Overlap, expected: Turn) -> None:
    assert turn(found(overlap=overlap), goes_on="n-1")[0] is expected
    assert turn(found(overlap=overlap)) == (Turn.MAKE, "")


def test_a_paused_schedule_makes_nothing() -> None:
    assert turn(found(), paused=True) == (Turn.SKIP, "the schedule was paused")


def test_slots_never_end() -> None:
    assert next(slots([Line(cron="0 0 29 2 *")], NOW)).at.year == 2028


# What the page about nights says

PAGE = (Path(__file__).parents[2] / "docs/nightly.md").read_text()


def keys_in(section: str) -> dict[str, str]:
    """The keys and defaults in the table of a section of the page."""
    text = re.split("\n##+ ", PAGE.partition(f"# {section}\n")[2])[0]
    return dict(re.findall(r"^\| `(\w+)` \| `?([^`|,]*?)`?(?:,[^|]*)? \|", text, re.MULTILINE))


@pytest.mark.parametrize(
    ("section", "kind"),
    [
        ("A schedule", Line),
        ("Built from repositories", BatchInput),
        ("What fails night after night", Failures),
    ],
)
def test_the_page_about_nights_tells_every_key_with_its_default(section: str, kind: type) -> None:
    told = keys_in(section)
    if kind is BatchInput:  # these have none that could be written down
        told |= {"path": "", "signers": ""}
    assert told == {
        info.name: "required" if info.default is MISSING else str(info.default)
        for info in fields_of(kind)
    }


def test_the_examples_of_the_page_are_schedules(tmp_path: Path) -> None:
    for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL):
        if "schedule:" not in text:  # a release file
            continue
        file = tmp_path / "nightly.yaml"
        file.write_text(text)
        (found,) = schedules_in(tmp_path)
        assert not found.error
        assert found.lines
    assert schedule_named(tmp_path, "nightly") == found


def test_files_without_a_schedule_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "stages.yaml").write_text("jobs: [")
    (tmp_path / "none.yaml").write_text("schedule: []\nbuilds: []\n")
    (tmp_path / "a b.yaml").write_text('schedule: {cron: "0 0 * * *"}\n')
    (found,) = schedules_in(tmp_path)
    assert "rename the file" in found.error
    with pytest.raises(BadInput, match="cannot read"):
        schedules_in(tmp_path / "missing")


def test_schedules_whose_nights_would_have_the_same_ids_are_told(tmp_path: Path) -> None:
    for name, batch in {"a": "my night", "b": "my-night", "c": "other"}.items():
        (tmp_path / f"{name}.yaml").write_text(f'name: {batch}\nschedule: {{cron: "0 0 * * *"}}\n')
    assert [bool(one.error) for one in schedules_in(tmp_path)] == [True, True, False]
    with pytest.raises(BadInput, match="another file has the batch"):
        schedule_named(tmp_path, "a")


def test_a_link_leads_to_the_folder_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "checkout").mkdir()
    file = tmp_path / "checkout/nightly.yaml"
    file.write_text('schedule: {cron: "0 0 * * *"}\n')
    (tmp_path / "mine.yaml").symlink_to(file)
    (found,) = schedules_in(tmp_path)
    assert (found.name, found.path, found.batch) == ("mine", file, "nightly")


@pytest.mark.parametrize(
    ("batch", "is_taken"),
    [
        ("nightly-20261127T0130Z", True),
        ("nightly-20261127T013015Z", True),
        ("nightly-20261127-0123456789abcdef", True),
        ("nightly-20261127T013Z", False),
        ("weekly-20261127T0130Z", False),
    ],
)
def test_a_release_takes_nights_by_the_name_of_their_batch(batch: str, is_taken: bool) -> None:
    selection = Selection(jobs=("*",), batch="nightly")
    assert (selection_of([selection], "job", batch) is selection) is is_taken
