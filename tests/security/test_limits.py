"""What a hostile seed can use up: processes, memory, disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tasks.artifacts.gate_tests import Outcome
from tasks.errors import HookFailed
from tasks.host import cgroup
from tasks.model import HookType, StepLimits
from tests.farmer import Farmer
from tests.gated import SOURCE, a_test, named, stage
from tests.security.hostile_seed import make_hostile_seed

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("can_isolate", "host_unchanged")]

INNER = HookType.INNER_CHROOT
SMALL = StepLimits(memory_bytes=128 * 2**20, cpu_weight=50, pids=48)
BOMB = """perl -e 'my $n = 0; while ($n < 500 && defined(my $child = fork)) {
    $n++; sleep 1000 unless $child; } print "$n\\n"'"""
EAT = "x=x; while true; do x=$x$x; done"


@pytest.fixture
def farmer(tmp_path: Path) -> Farmer:
    return Farmer(tmp_path, make_hostile_seed(tmp_path, ()))


def require(*names: str) -> None:
    with cgroup.limited(SMALL) as group:
        if missing := set(names) & set(group.unmet):
            pytest.skip(f"control groups cannot limit {', '.join(sorted(missing))} here")


def test_a_fork_bomb_is_bounded_and_ends_with_its_step(farmer: Farmer) -> None:
    require("pids")
    printed = farmer.hooks(INNER, BOMB, limits=SMALL)
    assert 0 < int(printed[-1]) <= SMALL.pids


def test_a_step_that_needs_more_memory_than_it_may_says_so(farmer: Farmer) -> None:
    require("memory")
    with pytest.raises(HookFailed, match="signal 9.*: out of memory, the kernel killed"):
        farmer.hooks(INNER, EAT, limits=SMALL)


def test_a_test_that_uses_up_what_it_may_fails_and_no_other(farmer: Farmer) -> None:
    require("memory", "pids")
    hooks = (
        a_test(EAT, name="memory"),
        a_test("head -c 200000000 /dev/zero > /big", name="files"),
        a_test(f"{BOMB} > /dev/null; exit 1", name="processes"),
        a_test("true", name="none"),
    )
    with stage(farmer, *hooks, limits=SMALL) as made:
        made.do(SOURCE)
        tests = made.tests()
    assert named(tests, Outcome.FAILED) == {"memory", "files", "processes"}
    assert named(tests, Outcome.PASSED) == {"shell", "user-database", "none"}


def test_limits_that_are_not_kept_are_told(
    farmer: Farmer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroup, "MOUNT", tmp_path / "nothing")
    farmer.hooks(INNER, "true", limits=SMALL)
    told = [line.text for line in farmer.log.lines]
    assert "this host cannot limit pids, memory, cpu" in told


def test_a_disk_that_is_filled_is_that_of_the_workspace_and_is_emptied(
    tmp_path: Path, seed: Path
) -> None:
    """In a mount namespace the workspace has a small disk of its own."""
    (tmp_path / "hooks.yml").write_text(
        "hooks: [{name: fill, commands: ['cat /dev/zero > /filled']}]\n"
    )
    (tmp_path / "stages.yaml").write_text(
        f"jobs: [{{name: s, source: {{type: file, path: {seed}}}, hooks_files: [hooks.yml], "
        f"output: {{name: s.tar, dir: {tmp_path}/out}}, workspacedir: {tmp_path}/ws}}]"
    )
    (tmp_path / "ws").mkdir()
    stagefarm = f"{sys.executable} -m orchestrator run --specfile stages.yaml --job s"
    script = f"mount -t tmpfs -o size=96m t ws && {{ {stagefarm}; echo ended $?; ls -A ws; }}"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script],
        cwd=tmp_path,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": str(Path.cwd())}
        | {"STAGEFARM_STATE_DIR": str(tmp_path / "state")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "No space left on device" in done.stdout, done.stderr
    assert done.stdout.endswith("ended 1\n")
