"""Builds of a batch that start from what others of it make."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.planning.dependencies import chained, levels
from tasks.errors import SpecProblems
from tasks.model import Build, Output, Source, SourceType
from tests.builds import any_build


def build(job: str, source: str = "/srv/seed.tar", output: str = "") -> Build:
    return any_build(
        id=f"{job}-{output or 1}",
        job=job,
        source=Source(type=SourceType.FILE, path=source),
        output=Output(name=output or f"{job}.tar", dir="/srv/out"),
    )


def test_a_build_comes_after_the_one_that_makes_its_source() -> None:
    iso = build("iso", source="/srv/old/../out/full.tar")
    full, base = build("full", source="/srv/out/base.tar"), build("base")
    made = chained([iso, full, base])
    assert [(one.job, one.after) for one in made] == [
        ("base", ""), ("full", "base-1"), ("iso", "full-1"),
    ]  # fmt: skip
    assert [[one.job for one in level] for level in levels(made)] == [["base"], ["full"], ["iso"]]


def test_variants_find_their_own() -> None:
    bases = [build("base", output=f"base-{arch}.tar") for arch in "ab"]
    fulls = [build("full", f"/srv/out/base-{arch}.tar", f"full-{arch}.tar") for arch in "ba"]
    made = chained([*bases, *fulls])
    names = {one.id: one.output.name for one in made}
    assert len(names) == 4
    assert [names[one.after] for one in made[2:]] == ["base-b.tar", "base-a.tar"]


def test_a_job_may_start_from_another_variant_of_itself() -> None:
    stages = [build("stage", f"/srv/out/stage{n - 1}.tar", f"stage{n}.tar") for n in (3, 2, 1)]
    made = chained(stages)
    assert [one.output.name for one in made] == ["stage1.tar", "stage2.tar", "stage3.tar"]
    assert [one.after for one in made[1:]] == [one.id for one in made[:2]]


def test_other_sources_are_left_alone() -> None:
    fetched = build("fetched", source="/srv/out/base.tar")
    source = replace(fetched.source, type=SourceType.HTTP, uri="http://h/base.tar", path="")
    own = build("own", source="/srv/out/own.tar")
    made = chained([replace(fetched, source=source), own, build("base")])
    assert [one.after for one in made] == ["", "", ""]


@pytest.mark.parametrize(
    ("builds", "words", "hint"),
    [
        (
            [build("full", source="/srv/out/base.tar"), *[build("base")] * 2],
            "2 builds of the batch make its source /srv/out/base.tar",
            "put the options of the matrix into output.name",
        ),
        (
            [build("a", source="/srv/out/b.tar"), build("b", source="/srv/out/a.tar")],
            "jobs start from each other: a from b from a",
            "give one another source",
        ),
    ],
)
def test_what_cannot_be_ordered_is_refused(builds: list[Build], words: str, hint: str) -> None:
    with pytest.raises(SpecProblems) as caught:
        chained(builds)
    (problem,) = caught.value.problems
    assert (problem.message, problem.hint) == (words, hint)
