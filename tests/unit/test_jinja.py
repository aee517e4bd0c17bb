"""The jinja2 engine: the same values, useful filters, and a sandbox with bounds."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.planning.jinja import Limits, render
from tasks.errors import TemplateError

NOW = datetime(2026, 11, 22, 14, 30, tzinfo=UTC)
OPTIONS: dict[str, Any] = {"a": 1, "l": ["x", "y"], "s": "next", "d": {"k": "v"}, "w": "it's"}
SMALL = Limits(output_chars=10_000, text_chars=1_000, steps=100)


def out(text: str) -> str:
    return render(text, OPTIONS, name="f.yml", now=NOW)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{ options.s }}-{{ options.l | join('+') }}\n", "next-x+y\n"),
        ("{{ options.nope | default('x') }}", "x"),
        ("{% if options.nope is defined %}a{% else %}b{% endif %}", "b"),
        ("{{ now | date('%Y-%m-%d') }} {{ now | date }}", "2026-11-22 2026-11-22"),
        ("{{ options.s ~ '-' ~ options.a }}", "next-1"),
        ("{% for x in options.l %}{{ loop.index }}{{ x }} {% endfor %}", "1x 2y "),
        ("{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m(1) }}{{ m(2) }}", "<1><2>"),
        ("{{ options.w | quote }}", "'it'\"'\"'s'"),
        ("{{ options.l | to_json }} {{ '[1]' | from_json }}", '["x", "y"] [1]'),
        ("{{ {'a': [1]} | to_yaml }} {{ 'a: yes' | from_yaml }}", "a:\n    - 1 {'a': 'yes'}"),
        ("{{ 'ab' | b64encode }} {{ 'YWI=' | b64decode }}", "YWI= ab"),
        ("{{ '/a/b.c' | basename }} {{ '/a/b.c' | dirname }}", "b.c /a"),
        ("{{ 'v1.tar' | trim_prefix('v') | trim_suffix('.tar') }}", "1"),
        ("{{ '' | sha256 }}", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("{{ 'a\nb' | nindent(2) }}", "\n  a\n  b"),
        ("{{ options.s | required('why') }}", "next"),
        (
            "{{ 'ab12' | regex_match('^[a-z]+[0-9]+$') }} {{ 'ab12' | regex_find('[0-9]+') }}",
            "True 12",
        ),
        (
            "{{ '1.4.2' | semver_compare('^1.2') }} {{ '2.0.0' | semver_compare('^1.2') }}",
            "True False",
        ),
    ],
)
def test_values_and_filters(text: str, expected: str) -> None:
    assert out(text) == expected


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("{{ options.nope }}", 1, "no attribute 'nope'"),
        ("a\n{{ nope }}", 2, "'nope' is undefined"),
        ("a\n{{ options.d.k.z }}", 2, "no attribute 'z'"),
        ("\n\n{% if %}", 3, "Expected an expression"),
        ("{{ '' | required('give s') }}", 1, "give s"),
        ("{{ 1 / 0 }}", 1, "division by zero"),
        ("{{ 'a: [' | from_yaml }}", 1, "not valid YAML"),
        ("{% include 'x' %}", 1, "no loader"),
        ("{{ 'a' | regex_match('(') }}", 1, "error parsing regexp"),
        ("{{ 'a' | semver_compare('1') }}", 1, ""),
        ("{{ options.l[7] }}", 1, "no element 7"),
    ],
)
def test_errors_have_their_line(text: str, line: int, words: str) -> None:
    with pytest.raises(TemplateError, match="f.yml") as caught:
        out(text)
    assert caught.value.line == line
    assert words in str(caught.value)


def test_an_undefined_option_has_a_hint() -> None:
    with pytest.raises(TemplateError) as caught:
        out("{{ options.nope }}")
    assert "default" in caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ options.__class__ }}",
        "{{ options.update({}) }}",
        "{{ options.l.append(1) }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ self.__init__ }}",
        "{{ (options | attr('__class__')) }}",
        "{{ '{0.__class__}'.format(1) }}",
        "{{ lipsum() }}",
    ],
)
def test_templates_reach_no_python_and_change_no_option(text: str) -> None:
    with pytest.raises(TemplateError):
        out(text)


@pytest.mark.parametrize(
    "text",
    [
        "{% for i in range(99) %}{% for j in range(99) %}{% endfor %}{% endfor %}",
        "{{ range(10 ** 9) | list }}",
        "{{ 'a' * 10 ** 9 }}",
        "{{ [0] * 10 ** 9 }}",
        "{{ 3 ** options.a ** 10 ** 9 }}{{ 3 ** (options.a * 99999999) }}",
        "{% set n = namespace(x=3) %}{% for i in range(60) %}{% set n.x = n.x * n.x %}{% endfor %}",
        "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x=n.x~n.x %}{% endfor %}",
        "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x=n.x+n.x %}{% endfor %}",
        "{% set x %}{% for i in range(60) %}{{ 'a' * 900 }}{% endfor %}{% endset %}",
        "{% for i in range(60) %}{{ 'a' * 900 }}{% endfor %}",
        "{{ '%99999999d' % 1 }}",
        "{{ '{:99999999}'.format(1) }}",
        "{{ '{:{w}}'.format(1, w=99999999) }}",
        "{{ 'a'.ljust(10 ** 9) }}",
        "{{ 'a' | center(10 ** 9) }}",
        "{{ 'a' | indent(10 ** 9) }}",
        "{{ ('a' * 900) | replace('a', 'a' * 900) }}",
        "{{ ('a' * 900).replace('a', 'a' * 900) }}",
        "{{ range(90) | join('a' * 900) }}",
        "{{ ('a' * 900).join(range(90) | map('string') | list) }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% macro m(n) %}{% if n %}{{ m(n-1) }}{{ m(n-1) }}{% endif %}{% endmacro %}{{ m(40) }}",
    ],
)
def test_hostile_templates_end_soon(text: str) -> None:
    with pytest.raises(TemplateError) as caught:
        render(text, OPTIONS, name="f.yml", now=NOW, limits=SMALL)
    assert caught.value.hint.startswith("templates are for names and commands")


@given(st.text(alphabet="{}%|# \n.[]()'\"+~*abioprst0123456789=,:-_", max_size=60))
def test_any_text_renders_or_is_a_template_error(text: str) -> None:
    try:
        render(text, OPTIONS, name="f.yml", now=NOW, limits=SMALL)
    except TemplateError as error:
        assert error.file == "f.yml"  # noqa: PT017 - most texts render


@given(st.text().filter(lambda text: "{" not in text and "\r" not in text))
def test_text_without_actions_is_itself(text: str) -> None:
    assert out(text) == text
