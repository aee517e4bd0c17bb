"""docs/publishing.md tells every key of release files, and its examples are valid."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator.formats.reader import fields_of
from orchestrator.formats.releasefile import Keep, Releasefile, Selection, Target, load_release
from orchestrator.shipped import shipped
from tasks.errors import SpecProblems

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "publishing.md").read_text()
SECTIONS = {
    "Release files": Releasefile,
    "`stages[]`": Selection,
    "`targets[]`": Target,
    "`keep`": Keep,
}


def section(title: str) -> str:
    match = re.search(rf"^##+ {re.escape(title)}\n(.*?)(?=^##|\Z)", TEXT, re.DOTALL | re.MULTILINE)
    assert match, title
    return match[1]


@pytest.mark.parametrize("title", SECTIONS)
def test_the_keys_that_are_told_are_those_that_are_there(title: str) -> None:
    rows = re.findall(r"^\| (`.*?`) \|", section(title), re.MULTILINE)
    told = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert told == [info.name for info in fields_of(SECTIONS[title])]


def test_the_examples_are_valid(tmp_path: Path) -> None:
    (walk,) = re.findall(r"Write `release.yaml`:\n\n(.*?)\n\n[A-Z]", TEXT, re.DOTALL)
    readme = (ROOT / "README.md").read_text()
    (short,) = re.findall(r"```yaml\n(stages:.*?)```", readme, re.DOTALL)
    for number, text in enumerate((re.sub(r"(?m)^    ", "", walk), short)):
        file = tmp_path / f"{number}.yaml"
        file.write_text(text)
        assert load_release(file).value.stages[0].product == "stage3"
    assert load_release(shipped("jobs") / "demo/release.yaml").value.name == "demo"


def test_all_mistakes_of_a_release_file_are_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(
        "channel: a/b\nstages: [{variant: $}]\nexpires: 0\nformer_keys: [x]\n"
        "targets:\n- {to: s3://b/p}\n- {to: ftp://h/x}\n- {to: 'h:/x', url: h}\n"
        "- {to: m}\n- {to: m}\n"
    )
    with pytest.raises(SpecProblems) as failed:
        load_release(file)
    assert [str(problem).removeprefix(f"{file}:") for problem in failed.value.problems] == [
        "1:10: channel: 'a/b' cannot be a name",
        "2:20: stages[0].variant: cannot read '$'",
        "3:10: expires: a generation cannot expire at once",
        "4:15: former_keys[0]: 'x' is not a public key",
        "6:3: targets[0]: `url` is missing",
        "7:8: targets[1].to: cannot write to ftp://h/x",
        "8:21: targets[2].url: h is not a URL",
        "10:8: targets[4].to: m is there twice",
    ]
