"""No template hangs, eats the machine, or reaches anything but its values."""

import pytest

from orchestrator.helm import Limits, render
from tasks.errors import TemplateError

HOSTILE = {
    "loop": "{{ range until 100000 }}{{ range until 100000 }}{{ end }}{{ end }}",
    "count": "{{ range 9223372036854775807 }}{{ end }}",
    "recursive template": '{{ define "t" }}{{ template "t" }}{{ end }}{{ template "t" }}',
    "recursive include": '{{ define "t" }}{{ include "t" . }}{{ end }}{{ include "t" . }}',
    "two includes": '{{ define "t" }}{{ include "t" . }}{{ include "t" . }}{{ end }}'
    '{{ include "t" . }}',
    "recursive tpl": '{{ define "t" }}{{ tpl "{{ include `t` . }}" . }}{{ end }}'
    '{{ include "t" . }}',
    "tpl of itself": "{{ $t := `{{ tpl .t . }}` }}{{ tpl $t (dict `t` $t) }}",
    "repeat": "{{ repeat 1000000000000 `x` }}",
    "repeat of repeat": "{{ repeat 3000 (repeat 3000 `x`) }}",
    "indent": "{{ indent 1000000000000 `x` }}",
    "nindent": "{{ nindent 100000 (repeat 100000 `\n`) }}",
    "until": "{{ until 1000000000000 }}",
    "until step": "{{ untilStep -9223372036854775808 9223372036854775807 1 }}",
    "seq": "{{ seq 1000000000000 }}",
    "width": '{{ printf "%9999999d" 1 }}',
    "width of each": '{{ printf "%999999v" (until 1000) }}',
    "width by argument": '{{ printf "%*d" 999999 1 | repeat 100 }}',
    "random": "{{ randAlphaNum 1000000000 }}",
    "random bytes": "{{ randBytes 1000000000 }}",
    "replace": "{{ repeat 10000 `a` | replace `a` (repeat 10000 `b`) }}",
    "replace nothing": "{{ repeat 10000 `a` | replace `` (repeat 10000 `b`) }}",
    "regex replace": "{{ regexReplaceAll `a` (repeat 10000 `a`) (repeat 10000 `b`) }}",
    "regex groups": "{{ regexReplaceAll `(.*)` (repeat 10000 `a`) (repeat 10000 `$1`) }}",
    "split": "{{ splitList `` (repeat 3000000 `a`) }}",
    "join": "{{ join (repeat 100000 `x`) (until 100000) }}",
    "wrap": "{{ wrapWith 1 (repeat 10000 `x`) (repeat 10000 `y`) }}",
    "growing text": "{{ $s := `x` }}{{ range until 100 }}{{ $s = print $s $s }}{{ end }}",
    "growing list": "{{ $l := list 1 }}{{ range until 100 }}{{ $l = concat $l $l }}{{ end }}",
    "deep list": "{{ $l := list 1 }}{{ range until 100000 }}{{ $l = list $l }}{{ end }}{{ $l }}",
    "wide list": "{{ $l := list 1 }}{{ range until 60 }}{{ $l = list $l $l }}{{ end }}{{ $l }}",
    "wide json": "{{ $l := list 1 }}{{ range until 60 }}{{ $l = list $l $l }}{{ end }}"
    "{{ toJson $l }}",
    "wide equality": "{{ $l := list 1 }}{{ range until 60 }}{{ $l = list $l $l }}{{ end }}"
    "{{ deepEqual $l $l }}",
    "map in itself": "{{ $d := dict }}{{ $_ := set $d `d` $d }}{{ $d }}",
    "json of a map in itself": "{{ $d := dict }}{{ $_ := set $d `d` $d }}{{ mustToJson $d }}",
    "yaml of a map in itself": "{{ $d := dict }}{{ $_ := set $d `d` $d }}{{ toYaml $d }}",
    "copy of a map in itself": "{{ $d := dict }}{{ $_ := set $d `d` $d }}{{ deepCopy $d }}",
    "merge of a map in itself": "{{ $d := dict }}{{ $_ := set $d `d` $d }}"
    "{{ $e := dict }}{{ $_ := set $e `d` $e }}{{ merge $d $e }}",
    "uniq": "{{ uniq (until 100000) }}",
    "without": "{{ without (until 100000) 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 }}",
    "output": "{{ $s := repeat 1000000 `x` }}{{ range until 100 }}{{ $s }}{{ end }}",
    "work": "{{ range until 100000 }}{{ $_ := repeat 1000000 `x` }}{{ end }}",
    "keys": "{{ range until 1000 }}{{ $_ := genPrivateKey `ecdsa` }}{{ end }}",
    "parentheses": "{{ " + "(" * 100_000 + "1" + ")" * 100_000 + " }}",
    "blocks": "{{ if 1 }}" * 100_000,
    "long chain": "{{ if 0 }}" + "{{ else if 0 }}" * 10_000 + "{{ end }}",
    "yaml aliases": "{{ fromYaml `a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
    "c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\n"
    "e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e]` | toJson | len"
    " | fail }}",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.timeout(20)
def test_a_hostile_template_is_stopped(text: str) -> None:
    with pytest.raises(TemplateError) as caught:
        render(text, {}, name="t")
    assert caught.value.line >= 1


@pytest.mark.parametrize(
    ("text", "limits", "message"),
    [
        ("{{ range until 100 }}{{ end }}", Limits(steps=50), "more than 50 steps"),
        ("{{ repeat 1000 `x` }}", Limits(size=500), "more than 500 characters"),
        ("{{ range until 9 }}{{ repeat 90 `x` }}{{ end }}", Limits(work=500), "more than 500 char"),
        ("{{ until 100 }}", Limits(items=60), "more than 60 items"),
        (
            '{{ define "t" }}{{ template "t" }}{{ end }}{{ template "t" }}',
            Limits(depth=5),
            "more than 5 templates",
        ),
    ],
)
def test_limits_can_be_set_and_say_what_was_too_much(
    text: str, limits: Limits, message: str
) -> None:
    with pytest.raises(TemplateError, match=message):
        render(text, {}, name="t", limits=limits)


def test_templates_may_call_each_other_as_deep_as_helm_allows() -> None:
    text = (
        '{{ define "t" }}{{ if lt . 900 }}{{ range list . }}{{ with . }}{{ include "t" (add 1 .) }}'
        '{{ end }}{{ end }}{{ else }}{{ . }}{{ end }}{{ end }}{{ include "t" 1 }}'
    )
    assert render(text, {}, name="t") == "900"


@pytest.mark.parametrize(
    "expression",
    [
        *(".Values.__class__", ".Values.items", ".Values.text.upper", ".Values.list.append"),
        *(".Values.when.__class__", ".Values.when.ns", ".Values.when.zone", ".Values.when.unix_s"),
        *('(semver "1.2.3").original', '(semver "1.2.3").__init__', '(split "," "a").go_type'),
        *("now.zone.offset_s", ".Values.when.Location.name", ".Chart.fields", ".Files.functions"),
        *(".Template.functions", "(until 2).element", ".Values.nested.zero.x"),
    ],
)
def test_no_python_object_is_reached(expression: str) -> None:
    from datetime import UTC, datetime

    options = {
        "text": "a",
        "list": [1],
        "nested": {},
        "when": datetime(2024, 9, 14, tzinfo=UTC),
    }
    try:
        text = render("{{ " + expression + " }}", options, name="t")
    except TemplateError:
        return
    assert text in ("", "map[]", "[]")


@pytest.mark.parametrize("name", ["env", "expandenv", "readFile", "open", "import", "exec"])
def test_no_way_out_is_offered(name: str) -> None:
    with pytest.raises(TemplateError, match="not defined"):
        render("{{ " + name + ' "x" }}', {}, name="t")


def test_the_network_is_not_asked() -> None:
    text = '{{ getHostByName "localhost" }}|{{ lookup "v1" "Pod" "ns" "n" }}'
    assert render(text, {}, name="t") == "|map[]"
