"""`stagefarm run` and `enter`: what is left after success, failure and Ctrl-C; bad input."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tasks.host.locks import exclusive, is_locked
from tests.farm import processes_with
from tests.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("can_isolate", "host_unchanged")]

PHASES = (
    "outer-pre-sourcer", "outer-pre-chroot", "inner-chroot", "outer-chroot", "outer-post-chroot",
    "outer-post-output",
)  # fmt: skip

SPECFILE = """
version: "1.0"
jobs:
- name: stage
  workspacedir: work
  hooks_basedir: .
  hooks_files: [hooks.yml]
  options: {{arch: {arch}, subarch: generic_64, phase: "", command: "true"}}
  source: {{type: file, path: {seed}}}
  output: {{type: file, name: stage.tar.zst, dir: out}}
"""

HOOKS = """
hooks:
{{- range list "outer-pre-sourcer" "outer-pre-chroot" "inner-chroot" "outer-chroot" \
               "outer-post-chroot" "outer-post-output" }}
- name: {{ . }}
  type: {{ . }}
  commands:
  - echo in {{ . }}
  {{- if eq . $.Values.phase }}
  - {{ $.Values.command | quote }}
  {{- end }}
{{- end }}
"""


@pytest.fixture
def folder(tmp_path: Path, seed: Path) -> Iterator[Path]:
    """A specfile with hooks of every type; afterwards nothing of a build may be left."""
    (tmp_path / "stages.yaml").write_text(SPECFILE.format(seed=seed, arch="x86-64bit"))
    (tmp_path / "hooks.yml").write_text(HOOKS)
    yield tmp_path
    assert eventually(lambda: not processes_with(str(tmp_path)))
    assert not list(tmp_path.glob("out/.*")), "a half-written artifact"


def command(*words: str) -> list[str]:
    job = ["--specfile", "stages.yaml", "--job", "stage"]
    return [sys.executable, "-m", "orchestrator", words[0], *job, *words[1:]]


def environment(folder: Path) -> Mapping[str, str]:
    return os.environ | {"STAGEFARM_STATE_DIR": str(folder / "state")}


def stagefarm(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*words),
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        check=False,
    )


BESIDE = ("CONTENTS.gz", "DIGESTS", "cdx.json", "packages.json", "sha256", "spdx.json")
PACKED = ["out/stage.tar.zst", *(f"out/stage.tar.zst.{name}" for name in BESIDE)]
BUILT = sorted([*PACKED, "out/stage.tar.zst.build.json"])


def left(folder: Path) -> list[str]:
    """What a build left in its workspace and its output folder."""
    found = [*folder.glob("work/*"), *folder.glob("work/.*"), *folder.glob("out/*")]
    return sorted(str(path.relative_to(folder)) for path in found)


def test_success_leaves_the_tarball_alone(folder: Path) -> None:
    done = stagefarm(folder, "run")
    assert done.returncode == 0, done.stderr
    assert left(folder) == BUILT
    for phase in PHASES:
        assert f"{phase} │ in {phase}" in done.stdout
    assert "sha256" in done.stdout


def test_json_is_all_that_is_printed(folder: Path) -> None:
    done = stagefarm(folder, "run", "--json")
    summary = json.loads(done.stdout)
    (artifact,) = summary["artifacts"]
    assert artifact["size_bytes"] == (folder / "out/stage.tar.zst").stat().st_size
    assert len(summary["steps"]) == len(PHASES) + 2
    assert summary["state"] == "succeeded"


def test_json_of_a_build_that_fails_says_how_far_it_came_and_why(folder: Path) -> None:
    failing = ("-o", "phase=outer-chroot", "-o", "command=exit 9")
    done = stagefarm(folder, "run", "--json", *failing)
    reason = "hook outer-chroot (hooks.yml): command 2 of 2 exited with 9"
    assert done.returncode == 1
    assert f"error: {reason}" in done.stderr
    summary = json.loads(done.stdout)
    assert (summary["state"], summary["error"]) == ("failed", "HookFailed")
    assert (summary["reason"], summary["hint"]) == (reason, "")
    titles = ["outer-pre-sourcer hooks.yml", "source", "outer-pre-chroot hooks.yml"]
    assert [step["title"] for step in summary["steps"]] == [*titles, "inner-chroot hooks.yml"]
    assert summary["artifacts"] == []


def test_a_build_that_fails_shows_its_cause(folder: Path) -> None:
    failing = ("-o", "phase=inner-chroot", "-o", "command=frobnicate")
    told = stagefarm(folder, "run", *failing)
    assert "cause: hook: frobnicate: command not found; fingerprint " in told.stdout
    done = stagefarm(folder, "run", "--json", *failing)
    cause = json.loads(done.stdout)["cause"]
    assert (cause["rule"], cause["message"]) == (
        "command-not-found",
        "frobnicate: command not found",
    )
    assert cause["fingerprint"] in told.stdout


@pytest.mark.parametrize(
    ("make", "code", "error"),
    [("touch out", 3, "HostUnfit"), ("mkdir -p work/.stagefarm/tree.pid", 3, "HostUnfit")],
)
def test_json_of_a_build_that_cannot_begin(folder: Path, make: str, code: int, error: str) -> None:
    subprocess.run(["/bin/sh", "-ec", make], cwd=folder, check=True)
    done = stagefarm(folder, "run", "--json")
    summary = json.loads(done.stdout)
    assert (done.returncode, summary["state"], summary["error"]) == (code, "failed", error)
    assert summary["reason"] in done.stderr


@pytest.mark.parametrize("phase", PHASES)
def test_failure_in_any_phase_leaves_nothing(folder: Path, phase: str) -> None:
    done = stagefarm(folder, "run", "-o", f"phase={phase}", "-o", "command=exit 9")
    assert done.returncode == 1
    assert f"error: hook {phase} (hooks.yml): command 2 of 2 exited with 9" in done.stderr
    expected = PACKED if phase == "outer-post-output" else []
    assert left(folder) == expected


@pytest.mark.parametrize(
    ("number", "phase", "deaf"),
    [
        (signal.SIGINT, "outer-pre-sourcer", ""),
        (signal.SIGTERM, "inner-chroot", ""),
        (signal.SIGHUP, "outer-post-chroot", ""),
        (signal.SIGINT, "inner-chroot", "trap '' TERM;"),
    ],
)
def test_an_interrupt_ends_everything(
    folder: Path, number: signal.Signals, phase: str, deaf: str
) -> None:
    waits = f"command={deaf} echo waiting; setsid sleep 1000 & sleep 1000"
    with subprocess.Popen(
        command("run", "-o", f"phase={phase}", "-o", waits),
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout
        assert process.stderr
        assert any("waiting" in line for line in process.stdout)
        process.send_signal(number)
        said = process.stderr.read()
        assert process.wait() == 130
    assert said.strip() == "error: interrupted"
    assert left(folder) == []


def test_a_job_has_a_time_limit(folder: Path) -> None:
    specfile = folder / "stages.yaml"
    specfile.write_text(specfile.read_text() + "  timeout: 3s\n")
    done = stagefarm(folder, "run", "-o", "phase=outer-pre-sourcer", "-o", "command=sleep 1000")
    assert done.returncode == 1
    assert "error: the build took longer than its time limit of 3 s" in done.stderr
    assert left(folder) == []


def test_a_kept_root_filesystem_can_be_entered_mended_and_used_again(folder: Path) -> None:
    failing = ("-o", "phase=inner-chroot", "-o", "command=test -e /mended")
    assert stagefarm(folder, "run", "--cleanup=false", *failing).returncode == 1
    assert left(folder) == ["work/rootfs"]
    entered = stagefarm(
        folder, "enter", "--", "/bin/sh", "-c", "echo $MARKDEVKIT_ROOTFS; echo > /mended"
    )
    assert entered.stdout.strip() == str(folder / "work" / "rootfs"), entered.stderr
    missing = stagefarm(folder, "enter", "--", "/bin/nosuch")
    assert (missing.returncode, "No such file or directory" in missing.stderr) == (127, True)
    again = stagefarm(folder, "run", "--cleanup=false", "--skip-source-phase", *failing)
    assert again.returncode == 0, again.stderr
    assert left(folder) == [*BUILT, "work/rootfs"]


@contextmanager
def shell(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A shell in the root filesystem, which ends when it is told a line."""
    inside = "echo /proc/self/fd/*; echo > /entered; read line; test -e /bin/bash && echo $line"
    with subprocess.Popen(
        command("enter", "--", "/bin/bash", "-c", inside),
        cwd=folder,
        env=environment(folder),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert eventually((folder / "work/rootfs/entered").exists)
            yield process
        finally:
            process.kill()


def test_no_build_begins_where_somebody_has_entered(folder: Path) -> None:
    """However many have; and what they see is not taken from under them."""
    assert stagefarm(folder, "run", "--cleanup=false").returncode == 0
    with shell(folder) as first:
        assert stagefarm(folder, "enter", "--", "/bin/true").returncode == 0
        for cleanup in ("true", "false"):
            refused = stagefarm(folder, "run", f"--cleanup={cleanup}")
            assert refused.returncode == 3
            assert "work is in use by another build, or by a shell" in refused.stderr
        assert first.stdin
        said = first.communicate("still here\n")[0].splitlines()
    assert said[-1] == "still here"
    assert said[0].split() == [f"/proc/self/fd/{number}" for number in range(4)], (
        "bash's own, and *"
    )
    again = stagefarm(folder, "run")
    assert again.returncode == 0, again.stderr


def test_a_shell_that_was_killed_keeps_no_build_out(folder: Path) -> None:
    assert stagefarm(folder, "run", "--cleanup=false").returncode == 0
    with shell(folder) as entered:
        entered.kill()
    assert eventually(lambda: not is_locked(folder / "work/.stagefarm"))
    assert stagefarm(folder, "run").returncode == 0


def test_nobody_enters_where_a_build_is_at_work(folder: Path) -> None:
    waits = ("-o", "phase=inner-chroot", "-o", "command=echo waiting; sleep 1000")
    with subprocess.Popen(
        command("run", "--cleanup=false", *waits),
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as build:
        assert build.stdout
        assert any("waiting" in line for line in build.stdout)
        refused = stagefarm(folder, "enter", "--", "/bin/true")
        build.terminate()
        build.stdout.read()
    assert refused.returncode == 3
    assert f"error: {folder}/work is in use by another build" in refused.stderr


@pytest.mark.parametrize("what", ["$MARKDEVKIT_ROOTFS/*", "$MARKDEVKIT_WORKSPACE/.stagefarm"])
def test_nothing_is_never_packed(folder: Path, what: str) -> None:
    removed = ("-o", "phase=outer-post-chroot", "-o", f"command=rm -rf {what}")
    done = stagefarm(folder, "run", *removed)
    assert done.returncode == 1
    assert "error: the root filesystem is empty" in done.stderr
    assert left(folder) == []


def test_phases_can_be_skipped(folder: Path) -> None:
    done = stagefarm(folder, "run", "--skip-hooks-phase=true", "--skip-packer-phase", "--json")
    assert [step["title"] for step in json.loads(done.stdout)["steps"]] == ["source"]


def test_quiet_leaves_out_what_hooks_print(folder: Path) -> None:
    assert "in inner-chroot" not in stagefarm(folder, "run", "--quiet").stdout


def test_a_second_build_in_the_same_workspace_is_refused(folder: Path) -> None:
    waits = ("-o", "phase=inner-chroot", "-o", "command=echo waiting; sleep 1000")
    with subprocess.Popen(
        command("run", *waits),
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as first:
        assert first.stdout
        assert any("waiting" in line for line in first.stdout)
        second = stagefarm(folder, "run")
        first.terminate()
        first.stdout.read()
    assert second.returncode == 3
    assert f"error: {folder}/work is in use by another build" in second.stderr


@pytest.mark.parametrize("cleanup", ["true", "false"])
def test_a_run_after_one_that_was_killed_has_nothing_of_it(folder: Path, cleanup: str) -> None:
    options = ("-o", "phase=inner-chroot", "-o")
    with subprocess.Popen(
        command("run", *options, "command=echo > /killed; echo waiting; sleep 1000"),
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as killed:
        assert killed.stdout
        assert any("waiting" in line for line in killed.stdout)
        killed.kill()
    done = stagefarm(folder, "run", f"--cleanup={cleanup}", *options, "command=test ! -e /killed")
    assert done.returncode == 0, done.stderr
    if cleanup == "false":
        assert left(folder) == [*BUILT, "work/rootfs"]
        assert (folder / "work/rootfs/bin/bash").exists()
    else:
        assert left(folder) == BUILT


@pytest.mark.parametrize(
    ("make", "code", "said"),
    [
        ("touch out", 3, "out is not a folder"),
        ("mkdir -p out/stage.tar.zst", 2, "out/stage.tar.zst is a folder"),
        ("mkdir -p work/rootfs; ln -s work/rootfs out", 2, "in the root filesystem that is packed"),
    ],
)
def test_an_output_that_cannot_be_written_is_told_before_anything_is_done(
    folder: Path, make: str, code: int, said: str
) -> None:
    subprocess.run(["/bin/sh", "-ec", make], cwd=folder, check=True)
    done = stagefarm(folder, "run")
    assert done.returncode == code
    assert said in done.stderr
    assert done.stdout == ""


def test_two_builds_of_one_output_do_not_write_into_each_other(folder: Path) -> None:
    with exclusive(folder / "out/stage.tar.zst"):
        second = subprocess.Popen(
            command("run"), cwd=folder, env=environment(folder), stdout=subprocess.PIPE, text=True
        )
        assert second.stdout
        waited = any("another build writes it" in line for line in second.stdout)
        written = left(folder)
    second.communicate()
    assert waited
    assert "out/stage.tar.zst" not in written
    assert second.returncode == 0
    assert left(folder) == BUILT


def test_what_the_system_refuses_is_one_clear_error(folder: Path) -> None:
    """Here a step's own file: a folder is in its place."""
    (folder / "work/.stagefarm/tree.pid").mkdir(parents=True)
    done = stagefarm(folder, "run")
    assert done.returncode == 3
    assert done.stderr.splitlines() == [f"error: {folder}/work/.stagefarm/tree.pid: Is a directory"]


def test_an_entrypoint_that_is_not_there_names_its_hook(folder: Path) -> None:
    (folder / "hooks.yml").write_text(
        "hooks: [{name: h, type: outer-chroot, entrypoint: [/no/such], commands: [x]}]"
    )
    done = stagefarm(folder, "run")
    assert done.returncode == 3
    assert "error: hook h (hooks.yml): command: cannot start /no/such: No such" in done.stderr


def test_the_folder_it_is_started_in_may_be_gone_or_have_an_odd_name(folder: Path) -> None:
    words = [*command("run")]
    words[words.index("stages.yaml")] = str(folder / "stages.yaml")
    for script, code, said in (
        ("mkdir gone && cd gone && rmdir ../gone && exec ", 2, "folder no longer exists"),
        (f"mkdir $'{folder}/\\xff' && cd $'{folder}/\\xff' && exec ", 2, "is not UTF-8"),
    ):
        done = subprocess.run(
            ["/bin/bash", "-ec", script + shlex.join(words)],
            cwd=folder,
            env=environment(folder) | {"PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code
        assert said in done.stderr
        assert "Traceback" not in done.stderr


def test_a_skipped_source_needs_a_root_filesystem(folder: Path) -> None:
    (folder / "hooks.yml").write_text("hooks: [{commands: [pwd]}]")
    done = stagefarm(folder, "run", "--skip-source-phase")
    assert done.returncode == 2
    assert "run once without --skip-source-phase" in done.stderr


def test_a_hook_may_take_the_place_of_a_skipped_source(folder: Path, seed: Path) -> None:
    unpack = f"command=tar -xf {seed} -C $MARKDEVKIT_ROOTFS"
    words = ("-o", "phase=outer-pre-sourcer", "-o", unpack)
    done = stagefarm(folder, "run", "--skip-source-phase", *words)
    assert done.returncode == 0, done.stderr
    assert left(folder) == BUILT


def test_there_must_be_something_to_enter(folder: Path) -> None:
    done = stagefarm(folder, "enter")
    assert (done.returncode, done.stdout) == (3, "")
    assert "build the job with --cleanup=false" in done.stderr


def test_an_architecture_without_a_handler_is_refused_before_anything_is_done(
    folder: Path, seed: Path
) -> None:
    (folder / "stages.yaml").write_text(SPECFILE.format(seed=seed, arch="m68k"))
    handlers = Path("/proc/sys/fs/binfmt_misc")
    if (handlers / "qemu-m68k").exists():
        pytest.skip("this machine has a handler for m68k")
    done = stagefarm(folder, "run")
    assert done.returncode == 3
    assert "cannot run programs of m68k" in done.stderr
    assert "install qemu-user-static" in done.stderr
    assert left(folder) == []


def test_devices_cannot_be_changed_in_a_user_namespace_either(folder: Path) -> None:
    """Where the host's are shown, since none can be made. The mode tried is the one they have."""
    namespace = ["unshare", "--user", "--map-root-user", "--"]
    if subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs user namespaces")
    tried = "command=echo x > /dev/null && ! chmod 0666 /dev/full"
    done = subprocess.run(
        [*namespace, *command("run", "-o", "phase=inner-chroot", "-o", tried)],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert left(folder) == BUILT


def test_an_ordinary_user_is_told_what_to_do(folder: Path) -> None:
    """In a user namespace that maps nobody, so that this process is not root."""
    words = ["unshare", "--user", "--", *command("run")]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "error: building needs root" in done.stderr
    assert "sudo" in done.stderr
    assert left(folder) == []
