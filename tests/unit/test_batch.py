"""Batches are read with every problem at once, and expand into builds."""

from pathlib import Path

import pytest

from orchestrator.formats.batchfile import Line, Missed, Overlap
from orchestrator.formats.spec import load_specfile
from orchestrator.planning.batch import Batch, BatchBuild, load_batch
from tasks.errors import BadInput, Problem, SpecProblems

SPEC = "jobs:\n- name: minimal\n- name: full\n"


def batch(tmp_path: Path, text: str) -> Batch:
    (tmp_path / "specs").mkdir(exist_ok=True)
    (tmp_path / "specs" / "stages.yaml").write_text(SPEC)
    (tmp_path / "nightly.yaml").write_text(text)
    return load_batch(tmp_path / "nightly.yaml")


def problems(tmp_path: Path, text: str) -> list[Problem]:
    with pytest.raises(SpecProblems) as caught:
        batch(tmp_path, text)
    return list(caught.value.problems)


def shown(batch: Batch) -> list[tuple[str, object]]:
    return [(build.job, build.overrides) for build in batch.builds]


def test_a_matrix_makes_every_combination(tmp_path: Path) -> None:
    made = batch(
        tmp_path,
        "builds:\n- specfile: specs/stages.yaml\n  job: minimal\n"
        "  matrix: {subarch: [a, b], release: [next, 1.0]}\n  options: {jobs: 8, release: x}\n",
    )
    assert made.name == "nightly"
    assert shown(made) == [
        ("minimal", {"jobs": 8, "release": "next", "subarch": "a"}),
        ("minimal", {"jobs": 8, "release": 1.0, "subarch": "a"}),
        ("minimal", {"jobs": 8, "release": "next", "subarch": "b"}),
        ("minimal", {"jobs": 8, "release": 1.0, "subarch": "b"}),
    ]


def test_combinations_can_be_left_out(tmp_path: Path) -> None:
    made = batch(
        tmp_path,
        "builds:\n- specfile: specs/stages.yaml\n  job: full\n"
        "  matrix: {a: [1, 2], b: [x, y]}\n  exclude: [{a: 1, b: y}, {a: 2}]\n",
    )
    assert shown(made) == [("full", {"a": 1, "b": "x"})]


def test_all_jobs_are_built_when_none_is_named(tmp_path: Path) -> None:
    made = batch(tmp_path, "name: n\nbuilds:\n- specfile: specs/stages.yaml\n")
    assert made.name == "n"
    assert shown(made) == [("minimal", {}), ("full", {})]


def test_a_build_carries_what_its_entry_says(tmp_path: Path) -> None:
    made = batch(
        tmp_path,
        "builds:\n- specfile: specs/stages.yaml\n  jobs: [full]\n  priority: 5\n"
        "  optional: yes\n  timeout: 90m\n  max_age: 7d\n",
    )
    assert made.builds == (
        BatchBuild(
            specfile=load_specfile(tmp_path / "specs" / "stages.yaml"),
            job="full",
            overrides={},
            priority=5,
            optional=True,
            timeout_s=5400,
            max_age_s=7 * 24 * 3600,
        ),
    )


def test_entries_can_share_by_anchor(tmp_path: Path) -> None:
    made = batch(
        tmp_path,
        "common: &c {specfile: specs/stages.yaml, priority: 2}\n"
        "builds:\n- {<<: *c, job: full}\n- {<<: *c, job: minimal, priority: 3}\n",
    )
    assert [(build.job, build.priority) for build in made.builds] == [("full", 2), ("minimal", 3)]


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "odd.yaml").write_text("jobs:\n- name: a\n  kind: b\n")
    found = problems(
        tmp_path,
        "builds:\n"
        "- specfile: specs/stages.yaml\n"
        "  job: ful\n"
        "  exclude: [{a: 1}]\n"
        "- specfile: specs/stage.yaml\n"
        "- specfile: odd.yaml\n"
        "- specfile: specs/stages.yaml\n"
        "  job: full\n"
        "  jobs: [minimal, x]\n"
        "  matrix: {a: []}\n",
    )
    told = [(Path(item.file).name, item.line, item.path, item.hint) for item in found]
    assert told == [
        ("nightly.yaml", 4, "builds[0].exclude[0].a", "use only options of the matrix"),
        ("nightly.yaml", 3, "builds[0].job", "did you mean `full`?"),
        ("nightly.yaml", 5, "builds[1].specfile", "did you mean `stages.yaml`?"),
        ("odd.yaml", 3, "jobs[0].kind", found[3].hint),
        ("nightly.yaml", 10, "builds[3].matrix", ""),
        ("nightly.yaml", 9, "builds[3].jobs", "keep one of them"),
    ]


def test_wrong_types_and_keys_are_told(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        "builds:\n- specfil: x\n  matrix: {a: b}\n  priority: high\n  optional: perhaps\n",
    )
    assert [item.path for item in found] == [
        "builds[0]",
        "builds[0].specfil",
        "builds[0].matrix.a",
        "builds[0].priority",
        "builds[0].optional",
    ]


def test_a_batch_without_builds_is_refused(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, "name: x\n")
    assert found.message == "the batch has no builds"


def test_a_missing_batch_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such batch file"):
        load_batch(tmp_path / "x.yaml")


SCHEDULED = "builds:\n- specfile: specs/stages.yaml\nschedule:"


def test_one_line_of_a_schedule_or_several(tmp_path: Path) -> None:
    one = Line(cron="30 2 * * *", timezone="Europe/Berlin", overlap=Overlap.WAIT)
    mapping = '{cron: "30 2 * * *", timezone: Europe/Berlin, overlap: wait}'
    assert batch(tmp_path, f"{SCHEDULED} {mapping}\n").schedule == (one,)
    two = f'\n- {mapping}\n- {{cron: "0 9 * * 1", missed: skip}}\n'
    other = Line(cron="0 9 * * 1", missed=Missed.SKIP)
    assert batch(tmp_path, f"{SCHEDULED}{two}").schedule == (one, other)
    assert batch(tmp_path, f"{SCHEDULED} []\n").schedule == ()


@pytest.mark.parametrize(
    ("written", "place", "message"),
    [
        (' {cron: "61 * * * *"}', (3, 18, "schedule.cron"), "not a line of cron: Bad minute"),
        (' {cron: "@daily"}', (3, 18, "schedule.cron"), "'@daily' is not a line of cron"),
        (' {cron: "0 0 * * * 30"}', (3, 18, "schedule.cron"), "is not a line of cron"),
        ('\n- {cron: "0 0 31 2 *"}', (4, 10, "schedule[0].cron"), "Bad day-of-month"),
        (
            "\n- cron: 0 0 * * *\n- cron: 1 1 * * *\n  timezone: Berlin",
            (6, 13, "schedule[1].timezone"),
            "'Berlin' is not a time zone",
        ),
        (" {cron: 0 0 * * *, missed: no}", (3, 37, "schedule.missed"), "use one of run, skip"),
        (" {timezone: UTC}", (3, 11, "schedule"), "`cron` is missing"),
    ],
)
def test_mistakes_in_a_schedule_have_their_place(
    tmp_path: Path, written: str, place: tuple[int, int, str], message: str
) -> None:
    (problem,) = problems(tmp_path, f"{SCHEDULED}{written}\n")
    assert (problem.line, problem.column, problem.path) == place
    assert message in problem.message
