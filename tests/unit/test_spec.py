"""Specfiles and hook files become typed values, and all that is wrong is told at once."""

from pathlib import Path

import pytest

from orchestrator.formats.reader import Document
from orchestrator.formats.spec import (
    ChrootBind,
    Engine,
    Environment,
    Specfile,
    find_job,
    load_specfile,
    parse_hookfile,
)
from tasks.errors import BadInput, Problem, SpecProblems
from tasks.model import HookType, OutputType, RootfsKind, SourceType

COMPAT = Path(__file__).parents[1] / "data" / "compat" / "jobs" / "x86_64" / "stages.yaml"


def spec(tmp_path: Path, text: str) -> Document[Specfile]:
    (tmp_path / "s.yaml").write_text(text)
    return load_specfile(tmp_path / "s.yaml")


def problems(tmp_path: Path, text: str) -> list[Problem]:
    with pytest.raises(SpecProblems) as caught:
        spec(tmp_path, text)
    return list(caught.value.problems)


def test_every_part_of_a_job_is_read() -> None:
    document = load_specfile(COMPAT)
    assert document.value.version == "1.0"
    assert document.value.engine is Engine.HELM
    assert [job.name for job in document.value.jobs] == ["stage3-minimal", "stage3-full"]
    number, job = find_job(document, "stage3-minimal")
    assert number == 0
    assert job.source.type is SourceType.ANISE
    assert job.source.anise_packages == ("sys-apps/baselayout", "virtual/base")
    assert job.output.type is OutputType.FILE
    assert job.environments[0] == Environment(key="MAKEOPTS", value="-j9")
    assert job.chroot_binds[0] == ChrootBind(
        source="/workspace/package", target="/var/tmp/cache/package"
    )
    assert job.hooks_files == ("steps/prepare.yml", "targets/stage3.yml", "steps/finish.yml")
    assert job.options["ratio"] == 1.5
    assert job.workspacedir == "/workspace"


def test_explicit_keys_win_over_merged_ones() -> None:
    _, job = find_job(load_specfile(COMPAT), "stage3-full")
    assert job.workspacedir == "work/full"
    assert job.hooks_basedir == "../hooks"


def test_later_keys_are_read(tmp_path: Path) -> None:
    job = spec(
        tmp_path,
        "engine: jinja2\njobs:\n- name: a\n  timeout: 2h30m\n  checkpoint: true\n  rootfs: plain\n"
        "  source: {type: http, sha256: ab, sha512: cd, keyring: k.gpg}\n",
    ).value.jobs[0]
    assert (job.timeout, job.checkpoint, job.rootfs) == (9000.0, True, RootfsKind.PLAIN)
    assert (job.source.sha256, job.source.sha512, job.source.keyring) == ("ab", "cd", "k.gpg")


def test_numbers_where_text_is_wanted_become_their_text(tmp_path: Path) -> None:
    job = spec(
        tmp_path,
        "version: 1.0\njobs:\n- name: 0755\n  source: {uri: 1_000}\n"
        "  environments: [{key: A, value: yes}, {key: B, value: 1.50}, {key: C, value: ~}]\n",
    ).value.jobs[0]
    assert (job.name, job.source.uri) == ("0755", "1_000")
    assert [item.value for item in job.environments] == ["yes", "1.50", ""]


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        "jobs:\n"
        "- name: a\n"
        "  hook_files: [x.yml]\n"
        "  source: {type: htp, url: x}\n"
        "  options: [1]\n"
        "- nam: b\n"
        "  output: text\n"
        "  environments: {A: b}\n"
        "  timeout: soon\n"
        "  rootfs: plan\n"
        "- [c]\n",
    )
    told = [(item.line, item.column, item.path, item.message, item.hint) for item in found]
    file = str(tmp_path / "s.yaml")
    assert {item.file for item in found} == {file}
    assert told == [
        (3, 3, "jobs[0].hook_files", "unknown key", "did you mean `hooks_files`?"),
        (
            4, 18, "jobs[0].source.type",
            "unsupported source type 'htp': use one of http, anise, file", "did you mean `http`?",
        ),
        (4, 23, "jobs[0].source.url", "unknown key", "did you mean `uri`?"),
        (5, 12, "jobs[0].options", "expected a mapping, found a list", "write `key: value`"),
        (6, 3, "jobs[1]", "`name` is missing", "Name of the job, unique in the file."),
        (6, 3, "jobs[1].nam", "unknown key", "did you mean `name`?"),
        (7, 11, "jobs[1].output", "expected a mapping, found `text`", "write `key: value`"),
        (
            8, 17, "jobs[1].environments",
            "expected a list, found a mapping", "begin each item with `- `",
        ),
        (
            9, 12, "jobs[1].timeout",
            "expected a duration such as 90, 45s, 90m or 2h30m, found `soon`", "",
        ),
        (
            10, 11, "jobs[1].rootfs",
            "unsupported job rootfs 'plan': use one of overlay, plain", "did you mean `plain`?",
        ),
        (11, 3, "jobs[2]", "expected a mapping, found a list", "write `key: value`"),
    ]  # fmt: skip


def test_a_name_given_twice_names_both_lines(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, "jobs:\n- name: a\n- name: b\n- name: a\n")
    assert (found.line, found.path) == (4, "jobs[2].name")
    assert found.message == "duplicate job 'a': first in line 2"


def test_other_top_level_keys_are_allowed_but_typos_are_told(tmp_path: Path) -> None:
    document = spec(tmp_path, "shared: &s {hooks_basedir: x}\njob:\n- name: a\nengin: helm\n")
    assert [(item.line, item.path) for item in document.warnings] == [(2, "job"), (4, "engin")]
    assert "did you mean `jobs`?" in document.warnings[0].message


def test_a_second_document_is_told(tmp_path: Path) -> None:
    document = spec(tmp_path, "jobs:\n- name: a\n---\njobs: []\n")
    (warning,) = document.warnings
    assert (warning.line, warning.message) == (
        3,
        "a second document begins here; only the first is read",
    )


def test_an_empty_specfile_has_no_jobs(tmp_path: Path) -> None:
    assert spec(tmp_path, "").value == Specfile()
    assert spec(tmp_path, "jobs:\n").value.jobs == ()


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, "just text\n")
    assert found.message == "expected a mapping, found `just text`"


def test_an_unknown_job_is_refused_with_those_there_are() -> None:
    document = load_specfile(COMPAT)
    with pytest.raises(BadInput, match="no job 'stage3-minimol'") as caught:
        find_job(document, "stage3-minimol")
    assert caught.value.hint == "did you mean `stage3-minimal`?"
    with pytest.raises(BadInput) as caught:
        find_job(document, "x")
    assert caught.value.hint == "its jobs are: stage3-minimal, stage3-full"


def test_a_missing_file_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "stages.yaml").touch()
    with pytest.raises(BadInput, match=r"stage.yaml: no such specfile") as caught:
        load_specfile(tmp_path / "stage.yaml")
    assert caught.value.hint == "did you mean `stages.yaml`?"
    with pytest.raises(BadInput, match="no such specfile") as caught:
        load_specfile(tmp_path / "no" / "stage.yaml")
    assert "does not exist either" in caught.value.hint


def test_a_folder_and_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="Is a directory"):
        load_specfile(tmp_path)
    (tmp_path / "s.yaml").write_bytes(b"jobs:\n- name: \xff\n")
    with pytest.raises(BadInput, match=r"s.yaml:2: not UTF-8 text"):
        load_specfile(tmp_path / "s.yaml")


def test_hook_files_have_their_defaults() -> None:
    hooks = parse_hookfile("hooks:\n- commands: [a]\n- type: outer-chroot\n", "h.yml").value.hooks
    assert [hook.type for hook in hooks] == [HookType.INNER_CHROOT, HookType.OUTER_CHROOT]
    assert hooks[0].commands == ("a",)
    assert hooks[0].entrypoint == ()


def test_an_unknown_hook_type_is_refused() -> None:
    with pytest.raises(SpecProblems) as caught:
        parse_hookfile("hooks:\n- type: outer-prechroot\n", "h.yml")
    (found,) = caught.value.problems
    assert "unsupported hook type 'outer-prechroot'" in found.message
    assert found.hint == "did you mean `outer-pre-chroot`?"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("45s", 45), ("90m", 5400), ("2h30m", 9000), ("1.5h", 5400), ("1d", 86400)],
)
def test_lengths_of_time(tmp_path: Path, text: str, seconds: float) -> None:
    assert spec(tmp_path, f"jobs: [{{name: a, timeout: {text}}}]").value.jobs[0].timeout == seconds


@pytest.mark.parametrize("text", ["-1", "1w", "h", "1:30", "true", "[]", ".inf"])
def test_no_lengths_of_time(tmp_path: Path, text: str) -> None:
    (found,) = problems(tmp_path, f"jobs: [{{name: a, timeout: {text}}}]")
    assert found.path == "jobs[0].timeout"


def test_null_is_as_if_left_out(tmp_path: Path) -> None:
    made = spec(tmp_path, "jobs:\n- ~\n- name: a\n  source: ~\n  hooks_files: [~, x]\n")
    (job,) = made.value.jobs
    assert (job.source.type, job.hooks_files) == (None, ("x",))
    assert made.places["jobs[0].hooks_files[0]"].line == 5
    (found,) = problems(tmp_path, "jobs:\n- name: ~\n")
    assert (found.path, found.message) == ("jobs[0]", "`name` is missing")


@pytest.mark.parametrize("text", ["-1", "1.5", "many", "true"])
def test_retries_are_a_count(text: str) -> None:
    with pytest.raises(SpecProblems, match="a whole number, 0 or more"):
        parse_hookfile(f"retries: {text}", "h.yml")
