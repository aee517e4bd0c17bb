"""Templates and what the reference makes of them.

`data/compat.yaml` was made with mark-devkit itself. The JSON files were made with Go 1.25, Helm
3.20 and Sprig 3.3, whose renderer mark-devkit calls, with `data/options.yaml` as options: `expect`
is the exact text, and where there is an `error` rendering must fail (its words are the
reference's, not ours). `generated.json` is a sample of random templates, the others were written
by hand.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.formats.yaml12 import load, plain
from orchestrator.helm import render
from tasks.errors import TemplateError

DATA = Path(__file__).parent / "data"
FILES = ["formats", "language", "lists", "numbers", "others", "printf", "strings"]


def outcome(case: dict[str, str], options: dict[str, Any]) -> tuple[str, str]:
    """What came of a case, and what should."""
    try:
        text = render(case["template"], options, name="case")
    except TemplateError as error:
        return "error" if error.line else str(error), case.get("expect", "error")
    got = text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
    return got, case.get("expect", "error")


@cache
def text_of(name: str) -> str:
    return (DATA / name).read_text()


def options() -> Any:
    return plain(load(text_of("options.yaml"), "options.yaml"))


def cases(name: str) -> list[Any]:
    return [
        pytest.param(case, id=f"{name}-{number}")
        for number, case in enumerate(json.loads(text_of(f"{name}.json")))
    ]


COMPAT = yaml.safe_load(text_of("compat.yaml"))


@pytest.mark.parametrize("case", COMPAT["cases"], ids=lambda case: case["template"][:60])
def test_renders_as_mark_devkit(case: dict[str, str]) -> None:
    got, want = outcome(case, plain(load(COMPAT["options"], "compat.yaml")))
    assert got == want


@pytest.mark.parametrize("case", [case for name in FILES for case in cases(name)])
def test_renders_as_helm(case: dict[str, str]) -> None:
    got, want = outcome(case, options())
    assert got == want


def test_random_templates_render_as_in_helm() -> None:
    wrong = []
    for case in json.loads(text_of("generated.json")):
        got, want = outcome(case, options())
        if got != want:
            wrong.append((case["template"], got, want))
    assert wrong == []
