"""YAML as Go's yaml.v3 reads it: against what it made of the same documents."""

import json
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.formats import yaml12
from orchestrator.formats.reader import read_document
from orchestrator.formats.scalars import resolve
from orchestrator.formats.yaml12 import Mapping, load, plain
from tasks.errors import Problem, SpecProblems

DATA = Path(__file__).parents[1] / "data" / "yaml"
VALUES = json.loads((DATA / "values.json").read_text())
TYPED = json.loads((DATA / "typed.json").read_text())


SCALARS = {type(None): "null", bool: "bool", float: "float", str: "str"}


def tagged(value: Any) -> Any:
    """`value` in the form of the cases: each value under the name of its type."""
    if isinstance(value, list):
        return {"list": [tagged(item) for item in value]}
    if isinstance(value, dict):
        pairs = [[tagged(key), tagged(item)] for key, item in value.items()]
        return {"map": sorted(pairs, key=repr)}
    if isinstance(value, datetime):
        return {"time": value.timestamp()}
    if type(value) is int:
        return {"int": str(value)}
    return {SCALARS[type(value)]: True if value is None else value}


def expected(case: Any) -> Any:
    ((kind, value),) = case.items()
    if kind == "float":
        return {kind: float(value)}
    if kind == "time":
        return {kind: datetime.fromisoformat(value).timestamp()}
    if kind == "list":
        return {kind: [expected(item) for item in value]}
    if kind == "map":
        return {kind: sorted(([expected(k), expected(v)] for k, v in value), key=repr)}
    return case


@pytest.fixture(params=["libyaml", "python"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both of PyYAML's parsers: the one in C may be missing on a machine."""
    if request.param == "python":
        monkeypatch.setattr(yaml12, "_LOADER", yaml.SafeLoader)
    return str(request.param)


# Where PyYAML's own parser is stricter or laxer than libyaml.
PYTHON_DIFFERS = {"a: \x7f", "a:b", "--- |\n x\n"}


@pytest.mark.parametrize("case", VALUES, ids=lambda case: repr(case["yaml"])[:40])
def test_values_are_gos(case: dict[str, Any]) -> None:
    if "error" in case:
        with pytest.raises(SpecProblems):
            load(case["yaml"], "f")
    else:
        assert repr(tagged(plain(load(case["yaml"], "f")))) == repr(expected(case["value"]))


@dataclass(frozen=True, kw_only=True)
class Inner:
    OPEN: ClassVar[bool] = True
    x: str = ""


@dataclass(frozen=True, kw_only=True)
class Typed:
    OPEN: ClassVar[bool] = True
    s: str = ""
    l: tuple[str, ...] = ()  # noqa: E741
    b: bool = False
    m: dict[str, Any] = field(default_factory=dict)
    i: Inner = field(default_factory=Inner)


@pytest.mark.parametrize("case", TYPED, ids=lambda case: repr(case["yaml"])[:40])
def test_typed_fields_take_what_gos_decoder_takes(case: dict[str, Any]) -> None:
    if "error" in case:
        with pytest.raises(SpecProblems):
            read_document(case["yaml"], "f", Typed)
        return
    want, got = case["value"], read_document(case["yaml"], "f", Typed).value
    assert (got.s, list(got.l), got.b, got.i.x) == (
        want["s"],
        want["l"] or [],
        want["b"],
        want["i"],
    )
    assert repr(tagged(got.m)) == repr(expected(want["m"]))


def problem(text: str) -> Problem:
    with pytest.raises(SpecProblems) as caught:
        load(text, "spec.yaml")
    assert len(caught.value.problems) == 1
    return caught.value.problems[0]


def test_places_count_from_one() -> None:
    root = load("a:\n  - b: |\n      text\n", "f")
    assert isinstance(root, Mapping)
    ((_, items),) = root.entries
    ((key, value),) = items.items[0].entries  # type: ignore[attr-defined]
    assert (key.line, key.column, value.line, value.column) == (2, 5, 2, 8)
    assert (value.style, value.text) == ("|", "text\n")


def test_a_key_given_twice_names_both_lines(parser: str) -> None:
    found = problem("a: 1\nb: 2\na: 3\n")
    assert str(found) == "spec.yaml:3:1: duplicate key 'a': first in line 1"


def test_several_twice_given_keys_are_told_at_once() -> None:
    with pytest.raises(SpecProblems) as caught:
        load("a: 1\na: 2\nb: {c: 1, c: 2}\nd: !!int x\n", "f")
    assert [item.line for item in caught.value.problems] == [2, 3, 4]


@pytest.mark.parametrize(
    ("text", "line", "words", "hint"),
    [
        ("a: [1, 2\nb: 3", 2, "not valid YAML", ""),
        ("a: b: c", 1, "mapping values are not allowed", "quote a value that contains ': '"),
        ("a:\n\t- b", 2, "cannot start any token", "spaces, not tabs"),
        ("a: {{ .Values.x }}", 1, "a mapping cannot be a key", "quote a value that starts with {{"),
        ("a: *b", 1, "unknown anchor 'b'", "define it above"),
        ("a: &x [*x]", 1, "contains itself", ""),
        ("b: 1\na: \x01", 2, "control characters", ""),
        ("<<: [1]", 1, "a merge key needs", ""),
        ("a: !!binary '@@'", 1, "not base64", ""),
    ],
)
def test_errors_say_where_and_what(text: str, line: int, words: str, hint: str) -> None:
    found = problem(text)
    assert (found.file, found.line) == ("spec.yaml", line)
    assert words in found.message
    assert hint in found.hint


def test_a_billion_laughs_are_refused(parser: str) -> None:
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    for n in range(1, 10):
        aliases = ", ".join([f"*a{n - 1}"] * 10)
        lines.append(f"a{n}: &a{n} [{aliases}]")
    assert "with its aliases expanded" in problem("\n".join(lines)).message


def test_deep_nesting_is_refused_also_through_aliases() -> None:
    assert "nested deeper" in problem("[" * 1000 + "]" * 1000).message
    chain = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 1000)]
    assert "nested deeper" in problem("\n".join(chain)).message


def test_only_the_first_document_is_read() -> None:
    parsed = yaml12.parse("a: 1\n---\nb: 2\n", "f")
    assert plain(parsed.root) == {"a": 1}
    assert parsed.more == 2


def test_merged_entries_follow_the_own_ones() -> None:
    text = "x: &x {a: 1, b: 2}\ny: &y {b: 3, c: 4}\nz: {d: 5, <<: [*x, *y], a: 6}"
    assert list(plain(load(text, "f"))["z"].items()) == [("d", 5), ("a", 6), ("b", 2), ("c", 4)]


@pytest.mark.parametrize("case", VALUES, ids=lambda case: repr(case["yaml"])[:40])
def test_pyyamls_own_parser_agrees(case: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml12, "_LOADER", yaml.SafeLoader)
    if "error" in case or case["yaml"] in PYTHON_DIFFERS:
        return
    try:
        got = plain(load(case["yaml"], "f"))
    except SpecProblems:
        return  # it is stricter in places
    assert repr(tagged(got)) == repr(expected(case["value"]))


def problems(text: str) -> tuple[Problem, ...]:
    try:
        plain(load(text, "f"))
    except SpecProblems as error:
        return error.problems
    return ()


@given(st.text())
def test_any_text_reads_or_tells_its_problems(text: str) -> None:
    assert all(item.file == "f" and item.message for item in problems(text))


PIECES = (
    "a|b: |- |  |{|}|[|]|&x |*x|<<: |!!int |!!map |? |>-|'|\"|#|, |: |1|0x|---\n|...\n|%|@|\t|\n"
)


@given(st.lists(st.sampled_from(PIECES.split("|")), max_size=25).map("".join))
def test_text_like_yaml_reads_or_tells_its_problems(text: str) -> None:
    assert all(item.file == "f" and item.message for item in problems(text))


@given(st.text(alphabet="0123456789abcdefoxXbBeE+-._:TZ ", min_size=1, max_size=25))
def test_any_word_stands_for_something(text: str) -> None:
    assert isinstance(resolve(text), str | int | float | datetime | None)


SIMPLE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.text(st.characters(codec="utf-8", exclude_categories=["C"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abcdef_-0123", min_size=1), inner),
    max_leaves=8,
)


@given(SIMPLE)
def test_json_reads_as_itself(value: Any) -> None:
    assert plain(load(json.dumps(value, ensure_ascii=False), "f")) == value
