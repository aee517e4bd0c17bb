"""docs/specfile.md tells every key, and its examples work."""

import re
from pathlib import Path

import pytest

from orchestrator.formats.batchfile import BatchEntry, Batchfile
from orchestrator.formats.reader import fields_of
from orchestrator.formats.spec import (
    ChrootBind,
    Environment,
    FileHook,
    Hookfile,
    Job,
    JobOutput,
    JobSource,
    Specfile,
    load_specfile,
)
from orchestrator.planning.batch import load_batch
from orchestrator.planning.jinja import FILTERS
from orchestrator.planning.prepare import moment
from orchestrator.planning.validate import Checking, check
from tasks.model import HookType, SourceType

DOCS = Path(__file__).parents[2] / "docs" / "specfile.md"
TEXT = DOCS.read_text()
SECTIONS = {
    "Specfile": (Specfile,),
    "`jobs[]`": (Job, Environment, ChrootBind),
    "`source`": (JobSource,),
    "`output`": (JobOutput,),
    "Hook files": (Hookfile,),
    "`hooks[]`": (FileHook,),
    "Batches": (Batchfile,),
    "`builds[]`": (BatchEntry,),
}


def section(title: str) -> str:
    match = re.search(rf"^##+ {re.escape(title)}\n(.*?)(?=^##|\Z)", TEXT, re.DOTALL | re.MULTILINE)
    assert match, title
    return match[1]


@pytest.mark.parametrize("title", SECTIONS)
def test_every_key_is_told(title: str) -> None:
    names = [info.name for kind in SECTIONS[title] for info in fields_of(kind)]
    assert [name for name in names if f"`{name}`" not in section(title)] == []


@pytest.mark.parametrize("title", SECTIONS)
def test_no_key_is_told_that_is_not_there(title: str) -> None:
    names = {info.name for kind in SECTIONS[title] for info in fields_of(kind)}
    told = re.findall(r"^\| `(\w+)`(?:, `(\w+)`)? \|", section(title), re.MULTILINE)
    told_names = {name for pair in told for name in pair if name and not name.isupper()}
    assert told_names <= names


@pytest.mark.parametrize(
    ("title", "kind"), [("`jobs[]`", Job), ("`source`", JobSource), ("`output`", JobOutput)]
)
def test_templates_are_marked(title: str, kind: type) -> None:
    rows = [line.split("|") for line in section(title).splitlines() if line.startswith("| `")]
    marked = {
        name for row in rows if row[3].strip() == "yes" for name in re.findall(r"\w+", row[1])
    }
    assert marked == {info.name for info in fields_of(kind) if info.key.rendered}


def test_every_type_and_filter_is_told() -> None:
    assert all(f"`{item}`" in section("`hooks[]`") for item in HookType)
    assert all(f"`{item}`" in section("`source`") for item in SourceType)
    assert all(re.search(rf"`{name}[`(]", section("`jinja2`")) for name in FILTERS)


def test_the_examples_are_valid(tmp_path: Path) -> None:
    stages, hooks = re.findall(r"```yaml\n(.*?)```", section("A first example"), re.DOTALL)
    batch = re.findall(r"```yaml\n(.*?)```", section("Batches"), re.DOTALL)[0]
    for folder in ("x86_64", "arm"):
        (tmp_path / folder / "hooks").mkdir(parents=True)
        (tmp_path / folder / "stages.yaml").write_text(stages)
        (tmp_path / folder / "hooks" / "update.yml").write_text(hooks)
    (tmp_path / "nightly.yaml").write_text(batch)
    how = Checking(render=True, overrides={}, now=moment("@0", {}), folder=tmp_path)
    assert check(tmp_path / "nightly.yaml", how).problems == ()
    assert len(load_batch(tmp_path / "nightly.yaml").builds) == 4
    (tmp_path / "jinja.yaml").write_text(
        re.findall(r"```yaml\n(.*?)```", section("`jinja2`"), re.DOTALL)[0]
    )
    assert load_specfile(tmp_path / "jinja.yaml").value.engine == "jinja2"
