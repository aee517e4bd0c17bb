"""What leads to a step, and what does not matter for what it leaves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tasks.artifacts.fingerprint import difference, lineage, recipe, usable
from tasks.model import (
    Build,
    Hook,
    HookType,
    Output,
    Source,
    SourceType,
    Step,
    StepKind,
    Tarformers,
)
from tasks.results import Artifact, Checkpoint
from tests.builds import any_build


def a_build(*commands: str, **changes: object) -> Build:
    """A source, then one group of hooks for each of `commands`."""
    groups = [
        Step(
            number=number,
            kind=StepKind.HOOKS,
            phase=HookType.INNER_CHROOT,
            file=f"{number}.yaml",
            hooks=(Hook(name="h", commands=(command,)),),
        )
        for number, command in enumerate(commands, 1)
    ]
    build = any_build(steps=(Step(number=0, kind=StepKind.SOURCE), *groups), environment={"A": "1"})
    return replace(build, **changes)  # type: ignore[arg-type]


def test_what_comes_later_makes_no_difference() -> None:
    one, other = a_build("a", "b"), a_build("a", "c", "d")
    assert lineage(one, 1) == lineage(other, 1)
    assert lineage(one, 2) != lineage(other, 2)
    assert difference(one, other, 1) == ""
    assert difference(one, other, 2) == "step 3 (inner-chroot 2.yaml)"


def test_time_limits_retries_and_checkpoints_make_no_difference() -> None:
    one = a_build("a")
    (source, group) = one.steps
    hook = replace(group.hooks[0], timeout_s=5.0, retries=2, description="said better")
    other = replace(one, steps=(source, replace(group, hooks=(hook,), checkpoint=True)), id="b-2")
    assert lineage(one, 1) == lineage(other, 1)


def test_each_difference_has_a_name() -> None:
    one = a_build("a")
    assert difference(one, a_build("a", environment={"A": "2"}), 1) == "variable A"
    assert difference(one, a_build("a", environment={"A": "1", "B": "2"}), 1) == "variable B"
    assert difference(one, a_build("a", arch="arm64"), 1) == "the arch"
    source = replace(one.source, path="/other.tar")
    assert difference(one, a_build("a", source=source), 0) == "the source"


def test_only_checkpoints_of_the_build_as_it_is_are_of_use() -> None:
    one, respecified = a_build("a", "b"), a_build("a", "c")
    artifact = Artifact(name="a", path="/a", size_bytes=1, sha256="x")
    kept = {
        f"1.{step}": Checkpoint(
            attempt=1, step=step, lineage=lineage(one, step), rootfs=artifact, workspace=artifact
        )
        for step in (1, 2)
    }
    assert list(usable(one, kept)) == ["1.1", "1.2"]
    assert list(usable(respecified, kept)) == ["1.1"]


def test_a_rebuild_has_the_recipe_of_the_build() -> None:
    one = a_build("a", "b", context="c" * 64)
    again = replace(
        one,
        source=replace(one.source, sha256="5" * 64),
        id="b-2",
        rebuild_of=one.id,
        batch="x",
        submitter="you",
        not_before=5.0,  # type: ignore[arg-type]
    )
    assert recipe(one) == recipe(again)


@pytest.mark.parametrize(
    "changes",
    [
        {"environment": {"A": "2"}},
        {"context": "d" * 64},
        {"output": Output(name="other.tar", dir="/out")},
        {"output": Output(name="a.tar", dir="/out", tarformers=Tarformers(ignore_files=("/x",)))},
        {"source": Source(type=SourceType.FILE, path="/other.tar")},
        {"source_date_epoch": 5},
        {"arch": "arm64"},
        {"steps": a_build("a", "c").steps},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_is_made_otherwise_has_another_recipe(changes: dict[str, object]) -> None:
    one = a_build("a", "b", context="c" * 64)
    assert recipe(replace(one, **changes)) != recipe(one)  # type: ignore[arg-type]
