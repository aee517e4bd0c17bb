"""What holds for any text and any value."""

import json
import string

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.formats.yaml12 import load, plain
from orchestrator.helm import Limits, render
from orchestrator.helm.functions import FUNCTIONS
from tasks.errors import TemplateError

LIMITS = Limits(steps=20_000, size=100_000, items=5_000, work=1_000_000, depth=50)
SLOW = {name for name in FUNCTIONS if name.startswith("gen")} | {"bcrypt", "htpasswd"}
PIECES = [
    *("{{", "}}", "{{-", "-}}", " ", "\n", "/*", "*/", "(", ")", "|", ":=", "=", ",", ".", "$"),
    *("if", "else", "end", "range", "with", "define", "template", "block", "break", "continue"),
    *("nil", "true", "'a'", '"a"', "`a`", "1", "-2", "1.5", "0x1F", "1e3", "1i", '"t"', "é", "\\"),
    *("$x", "$x :=", ".Values", ".Values.a", ".b", "print", "include", "tpl", "list", "dict"),
    *sorted(FUNCTIONS.keys() - SLOW),
]
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8
)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(string.printable),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(string.ascii_letters), inner),
    max_leaves=8,
)


def error_of(text: str, options: dict[str, object]) -> TemplateError | None:
    try:
        render(text, options, name="t", limits=LIMITS)
    except TemplateError as error:
        return error
    return None


def renders_or_says_where(text: str) -> None:
    error = error_of(text, {"a": {"b": [1, "x"]}})
    if error:
        assert error.file == "t"
        assert 1 <= error.line <= text.count("\n") + 1
        assert error.column >= 1


@given(st.text())
def test_any_text_renders_or_has_a_place_where_it_is_wrong(text: str) -> None:
    renders_or_says_where(text)
    renders_or_says_where("{{" + text)


@settings(max_examples=300)
@given(st.lists(st.sampled_from(PIECES), max_size=12))
def test_any_mix_of_words_renders_or_has_a_place_where_it_is_wrong(words: list[str]) -> None:
    renders_or_says_where("".join(words))
    renders_or_says_where("{{ " + " ".join(words) + " }}")


@given(st.text().filter(lambda text: "{{" not in text and "<no value>" not in text))
def test_text_without_actions_renders_to_itself(text: str) -> None:
    assert render(text, {}, name="t") == text


@given(st.sampled_from(sorted(FUNCTIONS.keys() - SLOW)), st.lists(VALUES, max_size=4))
def test_any_function_takes_any_values_or_says_no(name: str, values: list[object]) -> None:
    arguments = " ".join(f"(index .Values.values {index})" for index in range(len(values)))
    error = error_of(f"{{{{ {name} {arguments} }}}}", {"values": values})
    assert error is None or error.line == 1


@given(VALUES)
def test_any_value_prints(value: object) -> None:
    text = "{{ .Values.v }}{{ printf `%v %+v %#v %T %s %q %d %x` .Values.v }}{{ toYaml .Values.v }}"
    render(text, {"v": value}, name="t")


@given(PLAIN)
def test_json_and_yaml_read_back(value: object) -> None:
    options = {"v": {"k": value}}
    written = render("{{ toJson .Values.v }}", options, name="t")
    assert json.loads(written) == {"k": value}
    again = render("{{ .Values.v | toJson | fromJson | toJson }}", options, name="t")
    assert json.loads(again) == {"k": value}
    yaml = '{{ print (toYaml .Values.v) "\\n" | fromYaml | toJson }}'  # toYaml cuts the last one
    through = render(yaml, options, name="t")
    assert json.loads(through) == {"k": value}


# Go's yaml.v3 begins a literal with a tab where other readers want a space.
UNTABBED = st.text(string.printable.replace("\t", ""))


@given(st.dictionaries(st.text(string.ascii_letters, min_size=1), UNTABBED))
def test_pretty_yaml_is_yaml_1_2(value: dict[str, str]) -> None:
    written = render("{{ toYamlPretty .Values.v }}", {"v": value}, name="t")
    assert plain(load(written + "\n", "t")) == value
