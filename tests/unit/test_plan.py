"""Rendered jobs become builds: steps in their order, the environment, the queue."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator.formats.spec import load_specfile
from orchestrator.planning.batch_plan import plan_batch
from orchestrator.planning.plan import PlanOptions, build_id, plan
from orchestrator.planning.prepare import moment, parse_overrides, render_and_plan
from orchestrator.planning.render import render_job
from tasks.errors import BadInput, SpecProblems
from tasks.model import (
    Bind,
    Build,
    ChrootKind,
    HookType,
    Privileges,
    SourceType,
    StepKind,
    StepLimits,
    decode,
    encode,
)

NOW = datetime(2026, 11, 22, tzinfo=UTC)
JOB = """
jobs:
- name: a b/c
  source: {type: file, path: seed.tar}
  output: {name: x.tar, dir: out}
  workspacedir: w
  timeout: 2h
  chroot_binds: [{source: cache, target: /c}]
  options: {arch: x86-64bit, subarch: generic_64, jobs: 4, on: true, ratio: 1.5, list: [1],
            with-dash: d, nothing: ~, "": no, "a=b": no, huge: 18446744073709551615,
            when: 2024-09-14, MAKEOPTS: no}
  environments: [{key: MAKEOPTS, value: -j9}]
  hooks_files: [one.yml, two.yml]
"""
ONE = """
retries: 1
timeout: 60
hooks:
- {type: inner-chroot, name: i1, commands: [a, b]}
- {type: outer-pre-sourcer, name: s1}
- {type: inner-chroot, name: i2, timeout: 5s, retries: 3}
- {type: outer-chroot, name: o1, entrypoint: [/bin/sh, -ec]}
- {type: inner-chroot, name: i3}
- {type: outer-post-output, name: p1}
"""
TWO = """
hooks:
- {type: outer-post-chroot, name: q1}
- {type: outer-pre-chroot, name: r1}
- {type: outer-post-chroot, name: q2}
- {commands: [c], chroot_binds: [{source: /s, target: /t}]}
"""


def build(tmp_path: Path, *, spec: str = JOB, **options: Any) -> Build:
    (tmp_path / "s.yaml").write_text(spec)
    (tmp_path / "one.yml").write_text(ONE)
    (tmp_path / "two.yml").write_text(TWO)
    (tmp_path / "bad.yml").write_text(TWO.replace("target: /t", ""))
    rendered = render_job(
        load_specfile(tmp_path / "s.yaml"), "a b/c", overrides={}, now=NOW, folder=Path("/start")
    )
    return plan(rendered, "id-1", PlanOptions(**options))


def steps(build: Build) -> list[tuple[str, list[str]]]:
    return [(step.title, [hook.name for hook in step.hooks]) for step in build.steps]


def test_steps_come_in_the_order_of_the_design(tmp_path: Path) -> None:
    made = build(tmp_path, farm=True)
    assert steps(made) == [
        ("outer-pre-sourcer one.yml", ["s1"]),
        ("source", []),
        ("outer-pre-chroot two.yml", ["r1"]),
        ("inner-chroot one.yml", ["i1", "i2"]),
        ("outer-chroot one.yml", ["o1"]),
        ("inner-chroot one.yml", ["i3"]),
        ("inner-chroot two.yml", ["two.yml#4"]),
        ("outer-post-chroot two.yml", ["q1", "q2"]),
        ("pack", []),
        ("outer-post-output one.yml", ["p1"]),
        ("publish", []),
    ]
    assert [step.number for step in made.steps] == list(range(11))


@pytest.mark.parametrize(
    ("options", "kinds"),
    [
        ({"skip_source": True, "skip_hooks": True}, ["pack"]),
        ({"skip_packer": True, "skip_hooks": True}, ["source"]),
        ({"skip_hooks": True, "farm": True}, ["source", "pack", "publish"]),
    ],
)
def test_phases_can_be_left_out(tmp_path: Path, options: Any, kinds: list[str]) -> None:
    assert [step.kind for step in build(tmp_path, **options).steps] == kinds


def test_without_packing_nothing_runs_after_it(tmp_path: Path) -> None:
    made = build(tmp_path, skip_packer=True)
    assert made.steps[-1].phase is HookType.OUTER_POST_CHROOT
    assert StepKind.PACK not in [step.kind for step in made.steps]


def test_hooks_see_text_and_whole_numbers_and_environments_win(tmp_path: Path) -> None:
    assert build(tmp_path).environment == {
        "arch": "x86-64bit", "subarch": "generic_64", "jobs": "4", "with_dash": "d",
        "MAKEOPTS": "-j9",
    }  # fmt: skip


def test_a_build_is_complete(tmp_path: Path) -> None:
    made = build(tmp_path, batch="nightly", priority=3, optional=True)
    assert made.queue == "x86-64bit.generic_64"
    assert made.source.path == str(tmp_path / "seed.tar")
    assert (made.output.dir, made.output.name) == (str(tmp_path / "out"), "x.tar")
    assert (made.workspacedir, made.folder) == (str(tmp_path / "w"), "/start")
    assert made.chroot_binds == (Bind(source="/start/cache", target="/c"),)
    assert (made.batch, made.priority, made.optional, made.timeout_s) == ("nightly", 3, True, 7200)
    assert made.created_at == NOW.timestamp()
    assert decode(encode(made), Build) == made


def test_hooks_take_their_files_limits(tmp_path: Path) -> None:
    hooks = {hook.name: hook for step in build(tmp_path).steps for hook in step.hooks}
    assert (hooks["i1"].timeout_s, hooks["i1"].retries) == (60, 1)
    assert (hooks["i2"].timeout_s, hooks["i2"].retries) == (5, 3)
    assert (hooks["q1"].timeout_s, hooks["q1"].retries) == (0, 0)
    assert hooks["i1"].entrypoint == ("/bin/bash", "-c")
    assert hooks["o1"].entrypoint == ("/bin/sh", "-ec")
    assert hooks["two.yml#4"].chroot_binds == (Bind(source="/s", target="/t"),)


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("{type: file, path: seed.tar}", "{path: seed.tar}", "jobs[0].source.type"),
        ("path: seed.tar", "path: '{{ .Values.gone }}'", "jobs[0].source.path"),
        ("{type: file, path: seed.tar}", "{type: http, target: x}", "jobs[0].source.uri"),
        ("{type: file, path: seed.tar}", "{type: http, uri: x}", "jobs[0].source.target"),
        ("{type: file, path: seed.tar}", "{type: anise}", "jobs[0].source.anise_packages"),
        (
            "{type: file, path: seed.tar}",
            "{type: anise, anise_packages: [a]}",
            "jobs[0].source.anise_config",
        ),
        ("name: x.tar, ", "", "jobs[0].output.name"),
        (", dir: out", "", "jobs[0].output.dir"),
        ("path: seed.tar}", "path: x, sha256: 12}", "jobs[0].source.sha256"),
        ("key: MAKEOPTS", "key: A=B", "jobs[0].environments[0].key"),
        ("key: MAKEOPTS, ", "", "jobs[0].environments[0].key"),
        ("target: /c", "target: ''", "jobs[0].chroot_binds[0]"),
        ("two.yml]", "bad.yml]", "jobs[0].hooks_files[1]"),
    ],
)
def test_what_a_build_lacks_is_told_with_its_place(
    tmp_path: Path, old: str, new: str, path: str
) -> None:
    with pytest.raises(SpecProblems) as caught:
        build(tmp_path, spec=JOB.replace(old, new))
    (found,) = caught.value.problems
    assert found.path == path
    assert found.line > 0


@pytest.mark.parametrize(
    ("job", "made"),
    [
        ("stage3", "stage3-20261122-7f3a"),
        ("a b/c:d*", "a-b-c-d-20261122-7f3a"),
        ("../..", "job-20261122-7f3a"),
        ("ünï", "n-20261122-7f3a"),
    ],
)
def test_ids_are_safe_everywhere(job: str, made: str) -> None:
    assert build_id(job, "20261122", "7f3a") == made


def test_the_whole_way_from_files_to_a_build(tmp_path: Path) -> None:
    build(tmp_path)
    made = render_and_plan(
        load_specfile(tmp_path / "s.yaml"),
        "a b/c",
        overrides=parse_overrides(["subarch=haswell"]),
        now=NOW,
        options=PlanOptions(),
    )
    assert made.id.startswith("a-b-c-20261122-")
    assert made.queue == "x86-64bit.haswell"


@pytest.mark.parametrize(
    ("given", "options"),
    [
        (["a=1", "b=yes", "c=true", "d="], {"a": 1, "b": "yes", "c": True, "d": ""}),
        (["l=[x, y]", "u=https://h/p?q=1"], {"l": ["x", "y"], "u": "https://h/p?q=1"}),
        (["a.b=1", "a.c.d=~", r"e\.f=2"], {"a": {"b": 1, "c": {"d": None}}, "e.f": 2}),
        (["a=x=y"], {"a": "x=y"}),
    ],
)
def test_options_of_the_command_line_are_typed(given: list[str], options: Any) -> None:
    assert parse_overrides(given) == options


@pytest.mark.parametrize("given", [["a"], ["=1"], ["a=[1"], ["a=1", "a.b=2"], ["a=@x"]])
def test_options_that_cannot_be_read_are_refused(given: list[str]) -> None:
    with pytest.raises(BadInput, match="^-o "):
        parse_overrides(given)


@pytest.mark.parametrize(
    ("given", "environ", "made"),
    [
        ("2026-11-22T14:30:00+01:00", {}, "2026-11-22T14:30:00+01:00"),
        ("@0", {"SOURCE_DATE_EPOCH": "5"}, "1970-01-01T00:00:00+00:00"),
        (None, {"SOURCE_DATE_EPOCH": "1732285800"}, "2024-11-22T14:30:00+00:00"),
    ],
)
def test_the_moment_can_be_set(given: str | None, environ: dict[str, str], made: str) -> None:
    assert moment(given, environ).isoformat() == made


def test_moments_have_a_zone() -> None:
    assert moment(None, {}).tzinfo is not None
    assert moment("2026-11-22", {}).tzinfo is not None


@pytest.mark.parametrize("given", ["soon", "2026-13-01", "@99999999999999999999"])
def test_what_is_no_moment_is_refused(given: str) -> None:
    with pytest.raises(BadInput, match="is not a time"):
        moment(given, {})
    with pytest.raises(BadInput, match="SOURCE_DATE_EPOCH"):
        moment(None, {"SOURCE_DATE_EPOCH": "x"})


def test_checkpoints_are_after_groups_inside(tmp_path: Path) -> None:
    assert not any(step.checkpoint for step in build(tmp_path).steps)
    made = build(tmp_path, spec=JOB.replace("  timeout: 2h", "  checkpoint: true"))
    marked = [step.title for step in made.steps if step.checkpoint]
    assert marked == [
        "inner-chroot one.yml",
        "outer-chroot one.yml",
        "inner-chroot one.yml",
        "inner-chroot two.yml",
    ]


GATE = """
jobs:
- name: a b/c
  source: {type: file, path: seed.tar}
  output: {name: x.tar, dir: out}
  hooks_files: [%s]
"""
TESTS = "[{name: t1, type: gate, timeout: 5s}, {name: p1, type: outer-post-output}]"
MORE_TESTS = "[{name: t2, type: gate, chroot_binds: [{source: s, target: /t}]}]"
SMOKE = ("shell", "package-manager", "user-database", "name-service", "ldconfig", "locale")


def gated(tmp_path: Path, job: str = "", files: str = "", **options: Any) -> Build:
    (tmp_path / "a.yml").write_text(f"hooks: {TESTS}")
    (tmp_path / "b.yml").write_text(f"hooks: {MORE_TESTS}")
    return build(tmp_path, spec=GATE % files + job, **options)


def test_hooks_of_the_type_gate_are_tests_after_packing(tmp_path: Path) -> None:
    made = gated(tmp_path, files="a.yml, b.yml", farm=True)
    assert steps(made) == [
        ("source", []),
        ("pack", []),
        ("gate", ["t1", "t2"]),
        ("outer-post-output a.yml", ["p1"]),
        ("publish", []),
    ]
    gate = made.steps[2]
    assert gate.tests == (*SMOKE, "t1", "t2")
    assert (gate.hooks[0].timeout_s, gate.hooks[1].chroot_binds[0].target) == (5, "/t")
    assert (gate.network, made.privileges_of(gate), gate.boot) == ("none", "contained", False)
    assert not gate.is_outer
    assert made.host_privileged == ()
    assert decode(encode(made), Build) == made


@pytest.mark.parametrize(
    ("job", "files", "options", "tested"),
    [
        ("", "", {}, False),
        ("", "", {"gate": True}, True),
        ("", "a.yml", {}, True),
        ("  gate: true", "", {}, True),
        ("  gate: {}", "", {}, True),
        ("  gate: {boot: true}", "", {}, True),
        ("  gate: false", "a.yml", {"gate": True}, False),
        ("  gate: {tests: false}", "", {"gate": True}, False),
        ("  gate: true", "a.yml", {"skip_packer": True}, False),
        ("  gate: true", "a.yml", {"skip_hooks": True}, True),
    ],
)
def test_a_stage_is_tested_where_that_is_asked_for(
    tmp_path: Path, job: str, files: str, options: Any, tested: bool
) -> None:
    made = gated(tmp_path, job, files, **options)
    gates = [step for step in made.steps if step.kind is StepKind.GATE]
    assert len(gates) == tested
    for gate in gates:
        assert gate.boot is ("boot: true" in job)
        assert gate.tests[len(SMOKE) :] == (("boot",) if gate.boot else ()) + tuple(
            hook.name for hook in gate.hooks
        )


def test_a_batch_can_ask_for_tests_of_all_its_builds(tmp_path: Path) -> None:
    gated(tmp_path, "  gate: {boot: true}")
    batch = tmp_path / "b.yaml"
    for text, asked, count in (("gate: true", False, 2), ("", False, 1), ("", True, 2)):
        batch.write_text(f"{text}\nbuilds: [{{specfile: s.yaml}}, {{specfile: t.yaml}}]")
        (tmp_path / "t.yaml").write_text(
            GATE.replace("a b/c", "other").replace("x.tar", "y.tar") % ""
        )
        plans = plan_batch(batch, overrides={}, now=NOW, gate=asked)
        gates = [step for made in plans for step in made.steps if step.kind is StepKind.GATE]
        assert len(gates) == count


def test_tests_have_names_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "one.yml").write_text("hooks: [{name: locale, type: gate}]")
    for name, message in (("locale", "'locale' is the name of"), ("t1", "two tests are named")):
        (tmp_path / "c.yml").write_text(f"hooks: [{{name: {name}, type: gate}}]")
        with pytest.raises(SpecProblems, match=message):
            gated(tmp_path, files="a.yml, c.yml")


@pytest.mark.parametrize("given", ["gate: maybe", "gate: [boot]", "gate: {boots: true}"])
def test_what_gate_cannot_be_is_told(tmp_path: Path, given: str) -> None:
    with pytest.raises(SpecProblems, match="gate"):
        gated(tmp_path, f"  {given}")


CONTAINED = """
jobs:
- name: a b/c
  source: {type: file, path: seed.tar}
  output: {name: x.tar, dir: out}
  hooks_files: [mine.yml, jobs.yml]
"""


def contained(tmp_path: Path, job: str, mine: str, **options: Any) -> Build:
    """The build of a job with two hook files, of which the first has words of its own."""
    (tmp_path / "mine.yml").write_text(
        f"{mine}\nhooks: [{{name: i}}, {{name: o, type: outer-chroot}}]"
    )
    (tmp_path / "jobs.yml").write_text("hooks: [{name: j}]")
    return build(tmp_path, spec=CONTAINED + job, **options)


def test_what_a_hook_file_says_of_containment_wins_over_the_job(tmp_path: Path) -> None:
    made = contained(
        tmp_path, "  privileges: sandbox\n  network: none", "privileges: host\nnetwork: host"
    )
    of_steps = [(step.title, step.privileges, step.network) for step in made.steps]
    assert of_steps[1:4] == [
        ("inner-chroot mine.yml", "host", "host"),
        ("outer-chroot mine.yml", "contained", "host"),
        ("inner-chroot jobs.yml", "sandbox", "none"),
    ]
    assert (made.privileges, made.network) == ("sandbox", "none")
    assert [step.file for step in made.host_privileged] == ["mine.yml"]
    assert [step.file for step in made.steps if step.is_outer] == ["mine.yml"]


def test_inner_hooks_are_contained_where_nothing_is_said(tmp_path: Path) -> None:
    made = contained(tmp_path, "", "")
    assert {step.privileges for step in made.steps} == {Privileges.CONTAINED}
    assert made.host_privileged == ()


def test_fchroot_has_the_privileges_of_the_host(tmp_path: Path) -> None:
    made = contained(tmp_path, "", "", chroot=ChrootKind.FCHROOT)
    assert [step.file for step in made.host_privileged] == ["mine.yml", "jobs.yml"]


def test_finalizers_of_anise_have_the_privileges_of_the_job(tmp_path: Path) -> None:
    made = contained(tmp_path, "  privileges: host", "privileges: contained")
    source = replace(made.source, type=SourceType.ANISE)
    assert [step.kind for step in replace(made, source=source).host_privileged] == [
        StepKind.SOURCE,
        StepKind.HOOKS,
    ]


def test_a_network_that_is_not_kept_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecProblems, match="mine.yml: `network: none` is not kept"):
        contained(tmp_path, "  network: none", "privileges: host")
    with pytest.raises(BadInput, match="`network: none` is not kept with --chroot=fchroot"):
        contained(tmp_path, "  network: none", "", chroot=ChrootKind.FCHROOT)


def test_limits_are_read_and_those_out_of_range_refused(tmp_path: Path) -> None:
    made = contained(tmp_path, "  limits: {memory: 8G, cpu_weight: 50, pids: 100}", "")
    assert made.limits == StepLimits(memory_bytes=8 * 2**30, cpu_weight=50, pids=100)
    for limits in ("memory: 8", "cpu_weight: 10001"):
        with pytest.raises(SpecProblems, match="`limits"):
            contained(tmp_path, f"  limits: {{{limits}}}", "")
    with pytest.raises(SpecProblems, match="a size such as 8G"):
        contained(tmp_path, "  limits: {memory: 8 GB}", "")
