"""Errors say where, at what expression, and what to do."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from orchestrator.helm import render
from tasks.errors import TemplateError

NOW = datetime(2026, 11, 22, 21, 5, 7, tzinfo=UTC)


def failed(text: str, **options: object) -> TemplateError:
    with pytest.raises(TemplateError) as caught:
        render(text, options, name="job.yaml", now=NOW)
    return caught.value


def test_an_error_has_its_place_and_its_expression() -> None:
    error = failed("a\nb {{ .Values.missing.deeper }}")
    assert (error.file, error.line, error.column) == ("job.yaml", 2, 6)
    assert error.expression == ".Values.missing.deeper"
    assert '".Values.missing" is not set' in str(error)
    assert "(.Values.missing).deeper" in error.hint
    assert str(error).startswith("job.yaml:2:6: ")


@pytest.mark.parametrize(
    ("text", "place", "message", "hint"),
    [
        ("{{ .Values.a", (1, 1), "unclosed action", '"}}"'),
        ("x\n{{ if true }}", (2, 14), "unexpected end of the template", "{{ end }}"),
        ("{{ uper 1 }}", (1, 4), 'function "uper" not defined', "did you mean upper?"),
        ("{{ arch }}", (1, 4), 'function "arch" not defined', ".Values.arch"),
        ("{{ $ab := 1 }}{{ $aa }}", (1, 18), 'undefined variable "$aa"', "did you mean $ab?"),
        ("{{ .Values.a-b }}", (1, 13), "bad character '-'", "index .Values"),
        ("{{ end }}", (1, 4), "unexpected {{end}}", "no if"),
        ("{{ 1 | 2 }}", (1, 8), "non executable command", "must be a function"),
        ("{{ $a, $b := 1 }}", (1, 6), "too many declarations", "range"),
        ("é {{ upper 3 }}", (1, 12), "expected a string; found 3", ""),
        ("{{ upper .Values.n }}", (1, 10), "expected a string; got int", "toString"),
        ("{{ repeat (add 1) `x` }}", (1, 12), "expected an int; got int64", "`int`"),
        ('{{ eq .Values.n "7" }}', (1, 4), "incompatible types", "toString"),
        ("{{ .Values.n.x }}", (1, 4), "can't evaluate field x: int has none", ""),
        ("{{ template `t` }}", (1, 13), 'template "t" not defined', ""),
        ("{{ fail `no way` }}", (1, 4), "no way", ""),
        ("{{ required `set n` .Values.m }}", (1, 4), "set n", ""),
        ("{{ tpl `{{ if }}` . }}", (1, 4), "cannot parse the text as a template", ""),
        ("{{ tpl `{{ .x.y }}` . }}", (1, 4), "in the text: gotpl:1:4", ".x"),
        ("{{ regexFind `[` `a` }}", (1, 4), "error parsing regexp", ""),
    ],
)
def test_errors_say_what_to_do(text: str, place: tuple[int, int], message: str, hint: str) -> None:
    error = failed(text, n=7)
    assert (error.line, error.column) == place
    assert message in error.args[0]
    assert hint in error.hint


def test_an_error_in_a_definition_has_its_own_place() -> None:
    error = failed('{{ define "t" }}\n{{ .a.b }}{{ end }}{{ include "t" . }}')
    assert (error.line, error.column, error.expression) == (2, 4, ".a.b")


def test_now_is_what_it_is_told() -> None:
    text = "{{ now.Unix }} {{ dateInZone `2006-01-02T15:04:05` now `UTC` }} {{ now }}"
    expected = "1795381507 2026-11-22T21:05:07 2026-11-22 21:05:07 +0000 UTC"
    assert render(text, {}, name="t", now=NOW) == expected


def test_now_keeps_a_zone_that_is_not_the_local_one() -> None:
    moment = NOW.astimezone(timezone(timedelta(hours=2)))
    assert render("{{ now }}", {}, name="t", now=moment) == "2026-11-22 23:05:07 +0200 +0200"


def test_options_are_not_changed() -> None:
    options = {"a": {"b": 1}}
    assert render("{{ $_ := set .Values.a `b` 2 }}{{ .Values.a.b }}", options, name="t") == "2"
    assert options == {"a": {"b": 1}}


def test_a_text_that_is_not_unicode_is_refused() -> None:
    error = failed("a\n\ud800")
    assert (error.line, error.column) == (2, 1)
