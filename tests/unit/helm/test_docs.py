"""docs/templates.md lists every function, and its examples are true."""

import re
from pathlib import Path
from typing import Any

import pytest

from orchestrator.formats.yaml12 import load, plain
from orchestrator.helm import Limits, parser, render
from orchestrator.helm.functions import FUNCTIONS
from orchestrator.helm.values import MAX_DEPTH
from tasks.errors import TemplateError

TEXT = (Path(__file__).parents[3] / "docs" / "templates.md").read_text()
BLOCKS = re.findall(r"```text\n(.*?)```", TEXT, re.DOTALL)
EXAMPLES = [line.split("  ->  ") for block in BLOCKS for line in block.splitlines()]


def options() -> Any:
    found = re.search(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    assert found
    return plain(load(found[1], "templates.md"))


@pytest.mark.parametrize(("template", "expected"), EXAMPLES)
def test_example_is_true(template: str, expected: str) -> None:
    if expected.startswith("error: "):
        with pytest.raises(TemplateError, match=re.escape(expected.removeprefix("error: "))):
            render(template, options(), name="t")
    else:
        assert render(template, options(), name="t") == expected


def test_every_function_is_listed_and_no_other() -> None:
    start, end = TEXT.index("## Functions"), TEXT.index("## Differences")
    prose = re.sub(r"```.*?```", "", TEXT[start:end], flags=re.DOTALL)
    listed = set(re.findall(r"`([a-z]\w*)`", prose))
    not_offered = {"env", "expandenv", "mustX"}
    kinds = {"rsa", "ecdsa", "ed25519", "dsa"}
    assert listed - not_offered - kinds == set(FUNCTIONS)


def test_limits_are_told() -> None:
    limits = Limits()
    told = [limits.steps, limits.size, limits.items, limits.values, limits.work, limits.depth]
    for number in (*told, parser.MAX_DEPTH, MAX_DEPTH):
        assert f"| {number:,}" in TEXT
