"""The commands that look before one builds: diagnose, plan, validate, schema."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.shell_completion import ShellComplete

from orchestrator.cli import cli, run
from orchestrator.formats.schema import FORMATS, schema

ROOT = Path(__file__).parents[2]
COMPAT = ROOT / "tests" / "data" / "compat"
SPECFILE = str(COMPAT / "jobs" / "x86_64" / "stages.yaml")


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*arguments: object) -> tuple[int, str, str]:
        code = run([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return call


def test_diagnose_prints_the_job_and_nothing_else_on_stdout(call: Any) -> None:
    code, out, err = call("diagnose", "job", "--specfile", SPECFILE, "--job", "stage3-full")
    expected = (COMPAT / "expected-stage3-full.yaml").read_text().replace("@ROOT@", str(COMPAT))
    assert (code, out.strip(), err) == (0, expected.strip(), f"Loading specfile {SPECFILE}\n")


def test_diagnose_in_json_has_the_same_keys(call: Any) -> None:
    code, out, err = call(
        "diagnose", "job", "--specfile", SPECFILE, "--job", "stage3-full", "--json", "--quiet",
        "-o", "subarch=haswell",
    )  # fmt: skip
    shown = json.loads(out)
    assert (code, err, list(shown)) == (0, "", ["job", "hooks"])
    assert shown["job"]["options"]["subarch"] == "haswell"
    assert shown["job"]["source"]["uri"].endswith("/haswell/stage3-latest.tar.xz")


@pytest.mark.parametrize(
    "words",
    [
        ["-d", "--config", "{}", "diagnose", "job"],
        ["di", "-c", "{}", "j"],
        ["d", "job", "--debug", "--config={}"],
    ],
)
def test_a_command_line_of_mark_devkit_is_taken_as_it_is(
    call: Any, tmp_path: Path, words: list[str]
) -> None:
    (tmp_path / "config.yml").write_text("general: {debug: true}\n")
    (tmp_path / "s.yaml").write_text("jobs: [{name: j}]\n")
    given = [word.format(tmp_path / "config.yml") for word in words]
    code, out, _ = call(*given, "--specfile", tmp_path / "s.yaml", "--job", "j")
    assert code == 0
    assert out.startswith("job:\n")


@pytest.mark.parametrize("words", [["metro", "r"], ["m", "j"], ["me", "run"], ["-d", "m", "r"]])
def test_metro_run_has_the_short_names_of_mark_devkit(call: Any, words: list[str]) -> None:
    code, out, _ = call(*words, "--help")
    assert code == 0
    assert "--skip-source-phase" in out


def test_plan_prints_steps_queues_and_commands(call: Any) -> None:
    code, out, _ = call("plan", "--specfile", SPECFILE, "--job", "stage3-minimal")
    assert code == 0
    lines = [line.strip() for line in out.splitlines()]
    assert "1  outer-pre-sourcer steps/prepare.yml  [x86-64bit.generic_64]" in lines
    assert "2  source  [host.<the host that claimed it>]" in lines
    assert "anise repo update" in lines
    assert "anise install sys-apps/baselayout virtual/base" in lines
    assert "anise cleanup" in lines
    assert '/bin/bash -c: echo "0 TERRAGON"' in lines
    assert "/bin/sh -ec: ldconfig -p" in lines
    assert "10  publish  [host.<the host that claimed it>]" in lines


def test_plan_shows_what_a_stage_is_tested_for(call: Any, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(
        "jobs: [{name: j, source: {type: file, path: s.tar}, output: {name: x.tar, dir: .}}]"
    )
    words = ("plan", "--specfile", str(tmp_path / "s.yaml"), "--job", "j", "--local")
    assert "  gate  " not in call(*words)[1]
    code, out, _ = call(*words, "--gate")
    assert code == 0
    assert "3  gate  [this machine]\n      test shell, package-manager, user-database" in out


def test_plan_shows_the_builds_of_a_batch(call: Any) -> None:
    batch = str(ROOT / "jobs" / "demo" / "nightly.yaml")
    code, out, _ = call("plan", "--batch", batch)
    rows = [line.split() for line in out.splitlines()[1:]]
    assert (code, out.splitlines()[-1]) == (0, "6 builds in 2 queues")
    assert rows[0][:4] == [
        "x86-64bit.amd64-zen2", "stage3-minimal", "subarch=amd64-zen2", "release=next",
    ]  # fmt: skip
    assert rows[2][1] == "stage3-full"
    assert rows[2][-4:] == ["0", "optional", "after", "stage3-minimal"]
    code, out, _ = call("plan", "--batch", batch, "--json")
    assert [build["job"] for build in json.loads(out)].count("stage3-full") == 2


def test_an_option_given_wins_over_the_matrix(call: Any, tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(
        f"builds: [{{specfile: {SPECFILE}, job: stage3-full, matrix: {{subarch: [a, b]}}}}]"
    )
    code, out, _ = call("plan", "--batch", tmp_path / "b.yaml", "-o", "subarch=haswell")
    assert code == 0
    assert [line.split()[2] for line in out.splitlines()[1:3]] == ["subarch=haswell"] * 2


def test_all_that_is_wrong_in_a_batch_is_told_at_once(call: Any, tmp_path: Path) -> None:
    job = """
- name: {name}
  source: {{type: http, uri: "{uri}"}}
  output: {{type: file, name: o.tar, dir: o}}
"""
    jobs = job.format(name="a", uri="{{ nofunc }}") + job.format(name="b", uri="{{ fail `no` }}")
    (tmp_path / "stages.yaml").write_text(f"version: '1'\njobs:{jobs}")
    (tmp_path / "batch.yaml").write_text("builds: [{specfile: stages.yaml}]")
    code, out, err = call("plan", "--batch", tmp_path / "batch.yaml")
    assert (code, out) == (2, "")
    places = [line.split(": ")[2] for line in err.splitlines() if line.startswith("error: ")]
    assert places == ["jobs[0].source.uri", "jobs[1].source.uri"]


def test_plan_in_json_is_the_build(call: Any) -> None:
    code, out, _ = call("plan", "--specfile", SPECFILE, "--job", "stage3-full", "--json", "--local")
    build = json.loads(out)
    assert code == 0
    assert (build["job"], build["subarch"]) == ("stage3-full", "arm64_generic")
    assert [step["kind"] for step in build["steps"]].count("publish") == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--specfile", "gone.yaml", "--job", "x"], "gone.yaml: no such specfile"),
        (["--specfile", SPECFILE, "--job", "stage3-ful"], "no job 'stage3-ful'"),
        (["--specfile", SPECFILE, "--job", "stage3-full", "-o", "x"], "expected key=value"),
        (["--specfile", SPECFILE, "--job", "stage3-full", "--now", "x"], "is not a time"),
    ],
)
def test_bad_input_is_one_clear_error(call: Any, arguments: list[str], words: str) -> None:
    code, out, err = call("plan", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert words in err
    assert " hint: " in err


def test_validate_tells_what_files_are(call: Any) -> None:
    files = sorted(str(file) for file in (COMPAT / "jobs").rglob("*.y*ml"))
    code, out, _ = call("validate", *files)
    assert code == 0
    assert "stages.yaml: specfile, 2 jobs: stage3-minimal, stage3-full" in out
    assert out.count(": hooks, ") == 3


def test_every_shipped_spec_is_valid(call: Any) -> None:
    files = [file for folder in ("jobs", "hooks") for file in (ROOT / folder).rglob("*.y*ml")]
    assert files
    code, _, err = call("validate", *files)
    assert (code, "error:" in err) == (0, False), err


def test_validate_tells_every_problem_of_every_file(call: Any, tmp_path: Path) -> None:
    shutil.copytree(COMPAT / "jobs", tmp_path / "jobs")
    spec = tmp_path / "jobs" / "x86_64" / "stages.yaml"
    spec.write_text(
        spec.read_text().replace("  source:\n    type: http", "  source:\n    type: ftp")
    )
    hooks = tmp_path / "jobs" / "hooks" / "steps" / "finish.yml"
    hooks.write_text("hooks:\n- {tipe: x}\n- {commands: x}\n")
    code, out, err = call("validate", spec, hooks)
    assert (code, out) == (2, "")
    assert f"error: {spec}:65:11: jobs[1].source.type: unsupported source type 'ftp'" in err
    assert f"error: {hooks}:2:4: hooks[0].tipe: unknown key\n hint: did you mean `type`?" in err
    assert f"error: {hooks}:3:14: hooks[1].commands: expected a list, found `x`" in err


def test_validate_renders_each_job_unless_told_not_to(call: Any, tmp_path: Path) -> None:
    spec = tmp_path / "s.yaml"
    spec.write_text("jobs:\n- name: a\n  source: {type: http, uri: '{{ bad'}\n  hooks_files: [x]\n")
    code, _, err = call("validate", spec)
    assert code == 2
    assert f"{spec}:3:" in err
    assert "jobs[0].hooks_files[0]" in err
    assert call("validate", "--no-render", spec)[0] == 0


def test_validate_tells_what_jobs_lack_and_warns(call: Any, tmp_path: Path) -> None:
    spec = tmp_path / "s.yaml"
    spec.write_text(
        "hook: []\njobs:\n- name: a\n  source: {tarformers_specs: {validate: true}}\n---\n"
    )
    code, _, err = call("validate", spec)
    assert code == 2
    assert "jobs[0].source.tarformers_specs.validate: this option is accepted" in err
    assert f"warning: {spec}:5:1: a second document begins here" in err
    assert f"error: {spec}:4:11: jobs[0].source.type: job 'a': `source.type` is missing" in err
    assert f"error: {spec}:3:3: jobs[0].output.name: job 'a': `output.name` is missing" in err


@pytest.mark.parametrize(
    ("change", "path", "said"),
    [
        (
            "output: {type: file, name: x.zip, dir: o}",
            "output.name",
            "unknown extension for a tarball",
        ),
        ("output: {type: file, name: a/x.tar, dir: o}", "output.name", "is a path: a/x.tar"),
        ('options: {a: "x\\0y"}', "options.a", "cannot contain NUL"),
        ('workspacedir: "x\\0y"', "workspacedir", "cannot contain NUL"),
    ],
)
def test_what_would_fail_only_at_the_end_of_a_build_is_told_at_once(
    call: Any, tmp_path: Path, change: str, path: str, said: str
) -> None:
    job = {
        "source": "source: {type: file, path: s.tar}",
        "output": "output: {type: file, name: x.tar, dir: o}",
    } | {change.partition(":")[0]: change}
    (tmp_path / "s.yaml").write_text("jobs:\n- name: j\n  " + "\n  ".join(job.values()) + "\n")
    code, _, err = call("validate", tmp_path / "s.yaml")
    assert code == 2
    assert f"jobs[0].{path}: " in err
    assert said in err


def test_validate_checks_batches_and_their_builds(call: Any, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("jobs:\n- name: a\n  source: {uri: '{{ .Values.a.b }}'}\n")
    batch = tmp_path / "b.yaml"
    batch.write_text("builds:\n- specfile: s.yaml\n")
    code, _, err = call("validate", batch)
    assert code == 2
    assert "s.yaml:3:" in err
    assert call("validate", batch, "--no-render")[0] == 0


def test_validate_checks_the_order_of_a_batch(call: Any, tmp_path: Path) -> None:
    job = "- {{name: {0}, source: {{type: file, path: o/{1}.tar}}, output: {2}}}\n"
    output = "{{type: file, name: {}.tar, dir: o}}"
    jobs = [job.format(*names, output.format(names[0])) for names in ("ab", "ba")]
    (tmp_path / "s.yaml").write_text("jobs:\n" + "".join(jobs))
    (tmp_path / "b.yaml").write_text("builds: [{specfile: s.yaml}]")
    code, _, err = call("validate", tmp_path / "b.yaml")
    assert code == 2
    assert "jobs start from each other: a from b from a" in err


def test_a_hook_file_alone_may_need_options(call: Any, tmp_path: Path) -> None:
    hooks = tmp_path / "h.yml"
    hooks.write_text("hooks:\n- commands: ['{{ .Values.a.b }}']\n")
    code, out, err = call("validate", hooks)
    assert (code, "a template" in out) == (0, True)
    assert f"warning: {hooks}:2:" in err
    assert call("validate", hooks, "-o", "a.b=1")[1] == f"ok  {hooks}: hooks, 1 hook\n"
    assert call("validate", hooks, "-o", "c=1")[0] == 2
    hooks.write_text("hooks:\n- commands: ['{{ .Values.a.b ']\n")
    assert call("validate", hooks)[0] == 2


def test_a_file_of_no_known_kind_is_refused(call: Any, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("a: 1\n")
    code, _, err = call("validate", tmp_path / "x.yaml", tmp_path / "gone.yaml")
    assert code == 2
    assert "x.yaml: unknown kind of file" in err
    assert "gone.yaml: no such file" in err
    assert call("validate", "--kind", "specfile", tmp_path / "x.yaml")[0] == 0


def test_a_file_that_cannot_be_a_specfile_is_not_read_to_its_end(call: Any, tmp_path: Path) -> None:
    code, _, err = call("validate", "/dev/zero")
    assert code == 2
    assert "/dev/zero: too large for a file" in err


def test_validate_speaks_json(call: Any, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("jobs:\n- nam: a\n")
    code, out, _ = call("validate", "--json", tmp_path / "s.yaml")
    (verdict,) = json.loads(out)
    assert (code, verdict["ok"], verdict["kind"]) == (2, False, "specfile")
    assert [item["path"] for item in verdict["problems"]] == ["jobs[0]", "jobs[0].nam"]


@pytest.mark.parametrize("name", FORMATS)
def test_committed_schemas_are_current(call: Any, name: str) -> None:
    file = ROOT / "docs" / "schema" / f"{name}.json"
    assert json.loads(file.read_text()) == schema(name), f"run: stagefarm schema {name} > {file}"
    assert call("schema", name) == (0, file.read_text(), "")


def test_names_of_jobs_complete_in_the_shell() -> None:
    complete = ShellComplete(cli, {}, "stagefarm", "_STAGEFARM_COMPLETE")
    found = complete.get_completions(["plan", "--specfile", SPECFILE, "--job"], "stage3-f")
    assert [item.value for item in found] == ["stage3-full"]
    assert complete.get_completions(["plan", "--specfile", "gone", "--job"], "") == []


def test_a_file_of_other_bytes_is_named_once(call: Any, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"jobs:\n- \xff\n")
    assert call("validate", tmp_path / "x.yaml")[2].splitlines() == [
        f"error: {tmp_path}/x.yaml:2: not UTF-8 text",
        " hint: expected a file in YAML",
    ]


def test_the_nearest_command_is_told(call: Any) -> None:
    code, _, err = call("valdate")
    assert (code, "No such command 'valdate'. Did you mean 'validate'?" in err) == (2, True)
    assert "Did you mean" not in call("xyzzy")[2]


def test_a_folder_that_was_removed(
    call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tmp_path.rmdir()
    code, _, err = call("validate", SPECFILE)
    assert (code, err.splitlines()[0]) == (2, "error: the current folder no longer exists")


@pytest.mark.parametrize(("words", "colours"), [([], True), (["NO_COLOR=1"], False)])
def test_colours_on_a_terminal_are_for_those_who_want_them(words: list[str], colours: bool) -> None:
    if not shutil.which("script"):
        pytest.skip("needs script, of util-linux")
    line = shlex.join([sys.executable, "-m", "orchestrator", "validate", SPECFILE, "/nowhere"])
    said = subprocess.run(
        ["env", "TERM=xterm", *words, "script", "-qec", line, "/dev/null"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        env={k: v for k, v in os.environ.items() if k != "NO_COLOR"}, cwd=ROOT,
    )  # fmt: skip
    assert said.returncode == 2
    assert "/nowhere: no such file" in said.stdout
    assert ("\x1b[" in said.stdout) == colours
