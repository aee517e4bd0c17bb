"""Jobs are rendered with their options, and what is wrong is told with its place."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator.formats import yaml12
from orchestrator.formats.spec import load_specfile
from orchestrator.planning import diagnose
from orchestrator.planning.render import RenderedJob, merge, render_job
from tasks.errors import BadInput, SpecProblems, TemplateError

COMPAT = Path(__file__).parents[1] / "data" / "compat"
NOW = datetime(2026, 11, 22, 14, 30, tzinfo=UTC)


def render(file: Path, job: str, overrides: dict[str, Any] | None = None) -> RenderedJob:
    return render_job(
        load_specfile(file), job, overrides=overrides or {}, now=NOW, folder=file.parent
    )


def written(tmp_path: Path, spec: str, **hooks: str) -> Path:
    for name, text in hooks.items():
        (tmp_path / f"{name}.yml").write_text(text)
    (tmp_path / "s.yaml").write_text(spec)
    return tmp_path / "s.yaml"


@pytest.mark.parametrize("job", ["stage3-minimal", "stage3-full"])
def test_compat_jobs_are_as_mark_devkit_renders_them(job: str) -> None:
    file = COMPAT / f"expected-{job}.yaml"
    expected = file.read_text().replace("@ROOT@", str(COMPAT))
    rendered = render(COMPAT / "jobs" / "x86_64" / "stages.yaml", job)
    assert diagnose.as_yaml(rendered).rstrip("\n") == expected.rstrip("\n")
    plain = yaml12.plain(yaml12.load(expected, str(file)))
    assert json.loads(diagnose.as_json(rendered)) == plain


def test_relative_paths_start_from_the_specfile(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        "jobs:\n- name: a\n  workspacedir: w/../x\n  source: {target: t//u, path: p}\n"
        "  output: {dir: ../o/}\n",
    )
    job = render(file, "a").job
    assert job.workspacedir == str(tmp_path / "x")
    assert job.source.target == str(tmp_path / "t" / "u")
    assert job.output.dir == str(tmp_path.parent / "o")
    assert job.source.path == "p"


def test_absolute_paths_stay_as_they_are(tmp_path: Path) -> None:
    hooks = tmp_path / "elsewhere"
    hooks.mkdir()
    (hooks / "h.yml").write_text("hooks: [{name: x}]")
    file = written(
        tmp_path,
        f"jobs:\n- name: a\n  workspacedir: /w//x\n  output: {{dir: /o/../p/}}\n"
        f"  hooks_basedir: {hooks}\n  hooks_files: [h.yml]\n",
    )
    rendered = render(file, "a")
    assert (rendered.job.workspacedir, rendered.job.output.dir) == ("/w//x", "/o/../p/")
    assert rendered.hook_files[0].path == hooks / "h.yml"


def test_overrides_reach_fields_hooks_and_mappings(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        "jobs:\n- name: a\n  options: {n: {x: 1, y: 2}, r: old}\n  hooks_files: [h.yml]\n"
        "  output: {name: '{{ .Values.r }}-{{ .Values.n.x }}{{ .Values.n.y }}'}\n",
        h='hooks:\n- commands: ["{{ .Values.r }}"]\n',
    )
    rendered = render(file, "a", {"r": "new", "n": {"x": 7}})
    assert rendered.job.output.name == "new-72"
    assert rendered.hook_files[0].content.hooks[0].commands == ("new",)
    assert rendered.job.options == {"n": {"x": 7, "y": 2}, "r": "new"}


def test_merging_leaves_both_as_they_were() -> None:
    options = {"a": {"b": 1}, "c": 2}
    assert merge(options, {"a": {"d": 3}, "c": {"e": 4}}) == {"a": {"b": 1, "d": 3}, "c": {"e": 4}}
    assert options == {"a": {"b": 1}, "c": 2}


def test_now_is_one_moment_for_all_parts(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        "jobs:\n- name: a\n  output: {name: '{{ now | date \"2006-01-02\" }}'}\n"
        "  hooks_files: [h.yml]\n",
        h='hooks:\n- commands: ["{{ now | date "2006" }}"]\n',
    )
    rendered = render(file, "a")
    assert rendered.job.output.name == "2026-11-22"
    assert rendered.hook_files[0].content.hooks[0].commands == ("2026",)


def test_jinja2_renders_the_same_places(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        "engine: jinja2\njobs:\n- name: a\n  options: {r: next, e: [a, b]}\n"
        "  output: {name: '{{ options.r }}-{{ now | date(\"%Y%m%d\") }}.tar.zst'}\n"
        "  hooks_files: [h.yml]\n",
        h="hooks:\n- commands:\n{% for e in options.e %}\n  - echo {{ e }}\n{% endfor %}\n",
    )
    rendered = render(file, "a")
    assert rendered.job.output.name == "next-20261122.tar.zst"
    assert rendered.hook_files[0].content.hooks[0].commands == ("echo a", "echo b")


def template_error(file: Path) -> TemplateError:
    with pytest.raises(TemplateError) as caught:
        render(file, "a")
    return caught.value


@pytest.mark.parametrize(
    ("value", "line", "column"),
    [
        ("x{{ .Values.a.b }}", 4, 15),
        ("'x{{ .Values.a.b }}'", 4, 16),
        ("|-\n      x{{ .Values.a.b }}", 5, 0),
        (">-\n      x\n      {{ .Values.a.b }}", 5, 0),
    ],
)
def test_errors_in_fields_point_into_the_specfile(
    tmp_path: Path, value: str, line: int, column: int
) -> None:
    file = written(tmp_path, f"jobs:\n- name: a\n  output:\n    name: {value}\n    dir: x\n")
    error = template_error(file)
    assert (error.file, error.line) == (str(file), line)
    assert error.column == column
    assert str(error).startswith(f"{file}:{line}:")
    assert "jobs[0].output.name" in str(error)


def test_errors_in_hook_files_point_into_them(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        "jobs:\n- name: a\n  hooks_files: [h.yml]\n",
        h="hooks:\n- commands:\n  - x {{ .Values.a.b }}\n",
    )
    error = template_error(file)
    assert (error.file, error.line) == (str(tmp_path / "h.yml"), 3)
    assert "a" in error.expression


def test_jinja_errors_point_into_hook_files(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        "engine: jinja2\njobs:\n- name: a\n  hooks_files: [h.yml]\n",
        h="hooks:\n- commands:\n  - x {{ options.missing }}\n",
    )
    error = template_error(file)
    assert (error.file, error.line) == (str(tmp_path / "h.yml"), 3)


def test_several_errors_are_told_at_once(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        "jobs:\n- name: a\n  source: {uri: '{{ bad'}\n  output: {name: '{{ nope }}'}\n"
        "  hooks_files: [h.yml, gone.yml, odd.yml]\n",
        h="{{ .Values.a.b }}",
        odd="hooks:\n- kommands: [a]\n",
    )
    with pytest.raises(SpecProblems) as caught:
        render(file, "a")
    told = [(Path(item.file).name, item.line, item.path) for item in caught.value.problems]
    assert told == [
        ("s.yaml", 3, ""),
        ("s.yaml", 4, ""),
        ("h.yml", 1, ""),
        ("s.yaml", 5, "jobs[0].hooks_files[1]"),
        ("odd.yml", 2, "hooks[0].kommands"),
    ]


def test_a_missing_hook_file_names_its_neighbour(tmp_path: Path) -> None:
    file = written(tmp_path, "jobs:\n- name: a\n  hooks_files: [setip.yml]\n", setup="hooks: []")
    with pytest.raises(SpecProblems) as caught:
        render(file, "a")
    (found,) = caught.value.problems
    assert found.message == f"{tmp_path / 'setip.yml'}: no such hook file"
    assert found.hint == "did you mean `setup.yml`?"


def test_problems_of_rendered_text_show_its_line(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        "jobs:\n- name: a\n  options: {cmds: [x, y]}\n  hooks_files: [h.yml]\n",
        h="hooks:\n{{- range .Values.cmds }}\n- kommands: [{{ . }}]\n{{- end }}\n- tipe: x\n",
    )
    with pytest.raises(SpecProblems) as caught:
        render(file, "a")
    told = [(item.line, item.message) for item in caught.value.problems]
    assert told == [
        (0, "unknown key (line 2 of the rendered text: `- kommands: [x]`)"),
        (0, "unknown key (line 3 of the rendered text: `- kommands: [y]`)"),
        (5, "unknown key (line 4 of the rendered text: `- tipe: x`)"),
    ]


def test_an_unknown_job_is_bad_input() -> None:
    with pytest.raises(BadInput, match="no job 'x'"):
        render(COMPAT / "jobs" / "x86_64" / "stages.yaml", "x")


def test_templates_leave_the_options_as_they_were(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        "jobs:\n- name: a\n  options: {n: {x: 1}, l: [1]}\n  output:\n"
        '    name: \'{{ $_ := set .Values.n "x" 2 }}{{ $_ := set .Values "y" 3 }}'
        "{{ .Values.n.x }}'\n"
        "    dir: '/{{ .Values.n.x }}{{ .Values.y }}'\n",
    )
    rendered = render(file, "a")
    assert (rendered.job.output.name, rendered.job.output.dir) == ("2", "/1")
    assert rendered.job.options == {"n": {"x": 1}, "l": [1]}
