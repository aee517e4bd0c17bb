"""The layout of `diagnose job`: yaml.v3's."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.formats import yaml12
from orchestrator.formats.yamltext import go_float, rfc3339, sorted_keys, yaml_text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1e21, "1e+21"), (1234567.5, "1.2345675e+06"), (1e3, "1000"), (3.0, "3"), (2.5, "2.5"),
        (123456.0, "123456"), (1e-7, "1e-07"), (0.0001, "0.0001"), (-0.0, "-0"), (0.0, "0"),
        (float("inf"), ".inf"), (float("-inf"), "-.inf"), (float("nan"), ".nan"),
    ],
)  # fmt: skip
def test_floats_are_written_as_go_does(number: float, text: str) -> None:
    assert go_float(number) == text


def test_times_are_written_as_go_does() -> None:
    assert rfc3339(datetime(2024, 9, 14, tzinfo=UTC)) == "2024-09-14T00:00:00Z"
    zone = timezone(timedelta(hours=2))
    assert rfc3339(datetime(2024, 9, 14, 1, 2, 3, 250000, zone)) == "2024-09-14T01:02:03.25+02:00"


@pytest.mark.parametrize(
    "text", ["yes", "12:30:45", "0o17", "0755", "1e3", "null", "~", "2024-09-14", "", "="]
)
def test_text_that_could_be_something_else_is_quoted(text: str) -> None:
    assert yaml_text(text) in (f'"{text}"', f"'{text}'")


@pytest.mark.parametrize(
    "text", ["0...", "a...", "...", "1.5...", "a ...", "...a", "....", "a\n..."]
)
def test_dots_at_the_end_belong_to_the_text(text: str) -> None:
    assert yaml12.plain(yaml12.load(yaml_text({text: text}) + "\n", "f")) == {text: text}


def test_keys_come_in_gos_order() -> None:
    keys = dict.fromkeys(["a10", "a2", "b", "a_b", "ab", "a-b", "B"])
    assert list(sorted_keys(keys)) == ["B", "a-b", "a_b", "a2", "a10", "ab", "b"]


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["C"], include_characters="\n\t"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text("abc", min_size=1), VALUES))
def test_what_is_written_reads_back_in_both_versions_of_yaml(value: Any) -> None:
    text = yaml_text(value) + "\n"
    assert yaml12.plain(yaml12.load(text, "f")) == value
    assert yaml.safe_load(text) == value
