"""Steps in their namespaces: what hooks see, how they fail, what is left when they are killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.errors import BuildFailed, HookFailed, HostUnfit, StepKilled, TimedOut
from tasks.host import cgroup
from tasks.host.locks import is_locked
from tasks.host.process_tree import kill_tree
from tasks.model import (
    Bind,
    ChrootKind,
    Hook,
    HookType,
    Privileges,
    RootfsKind,
    Source,
    SourceType,
    Step,
    StepKind,
    StepLimits,
)
from tasks.reporting import Line
from tasks.settings import Settings
from tasks.step.launcher import perform
from tests.farm import kill_all
from tests.farmer import Farmer, Log
from tests.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("can_isolate", "host_unchanged")]

INNER, OUTER = HookType.INNER_CHROOT, HookType.OUTER_CHROOT


@pytest.fixture
def farmer(tmp_path: Path, seed: Path) -> Farmer:
    return Farmer(tmp_path, seed)


def test_an_inner_hook_is_in_the_root_filesystem(farmer: Farmer) -> None:
    printed = farmer.hooks(INNER, "cat /etc/hostname; echo $$; pwd; echo > /dev/null; ls /dev/pts")
    assert printed == ["stage", printed[1], "/", "ptmx"]


def test_an_outer_hook_is_on_the_host_in_the_folder_of_the_build(farmer: Farmer) -> None:
    printed = farmer.hooks(
        OUTER, "pwd; ls $MARKDEVKIT_ROOTFS/etc/hostname; ls $MARKDEVKIT_WORKSPACE"
    )
    home = farmer.folder / "state/builds/b-1.1"
    workspace = farmer.folder / "ws"
    assert printed == [str(home / "context"), f"{workspace}/rootfs/etc/hostname", "cache", "rootfs"]


def test_a_hook_sees_what_is_promised_and_nothing_else(
    farmer: Farmer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAGEFARM_REDIS_URL", "redis://:s3cret@host/0")
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.delenv("LS_COLORS", raising=False)
    printed = farmer.hooks(INNER, "exec env", environment={"USE": "-X", "TERM": "mine"})
    seen = dict(line.split("=", 1) for line in printed)
    names = {"PATH", "HOME", "LANG", "TERM", "COLORTERM", "USE"}
    places = {"MARKDEVKIT_VERSION", "MARKDEVKIT_WORKSPACE", "MARKDEVKIT_ROOTFS"}
    bash_makes = {"PWD", "SHLVL", "_"}
    assert seen.keys() - bash_makes == names | places
    assert seen["TERM"] == "mine"
    assert seen["MARKDEVKIT_ROOTFS"] == str(farmer.folder / "ws/rootfs")


@pytest.mark.parametrize("rootfs", [RootfsKind.PLAIN, RootfsKind.OVERLAY])
def test_the_root_filesystem_has_the_root_of_the_seed(
    farmer: Farmer, tmp_path: Path, rootfs: RootfsKind
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir(mode=0o751)
    (tree / "file").touch()
    os.chown(tree, 12, 34)
    os.utime(tree, ns=(1, 1_000_000_000_000_000_000))
    farmer.seed = tmp_path / "owned.tar"
    subprocess.run(["tar", "-C", tree, "-cf", farmer.seed, "."], check=True)
    build = farmer.build(OUTER, ["stat -c '%a %u %g %Y' $MARKDEVKIT_ROOTFS"], rootfs=rootfs)
    perform(build, 0, farmer.workspace(build), farmer.log)
    perform(build, 1, farmer.workspace(build), farmer.log)
    assert farmer.log.printed == ["751 12 34 1000000000"]


def test_what_hooks_put_there_before_the_source_is_kept_unless_the_source_has_it(
    farmer: Farmer,
) -> None:
    before = "echo mine > $MARKDEVKIT_ROOTFS/mine; mkdir $MARKDEVKIT_ROOTFS/etc; "
    before += "echo mine > $MARKDEVKIT_ROOTFS/etc/hostname"
    early = Hook(name="early", type=HookType.OUTER_PRE_SOURCER, commands=(before,))
    phase = HookType.OUTER_PRE_SOURCER
    build = farmer.build(OUTER, ["cd $MARKDEVKIT_ROOTFS && cat mine etc/hostname"])
    steps = (
        Step(number=0, kind=StepKind.HOOKS, phase=phase, file="f.yml", hooks=(early,)),
        Step(number=1, kind=StepKind.SOURCE),
        replace(build.steps[1], number=2),
    )
    build = replace(build, steps=steps)
    for number in range(3):
        perform(build, number, farmer.workspace(build), farmer.log)
    assert farmer.log.printed == ["mine", "stage"]


def test_binds_are_shared_with_the_host_and_the_root_filesystem(farmer: Farmer) -> None:
    farmer.hooks(INNER, "echo built > /var/cache/packages/p; echo x > /var/cache/y")
    home = farmer.folder / "state/builds/b-1.1"
    assert (farmer.folder / "ws/cache/p").read_text() == "built\n"
    assert list((home / "workspace/cache").iterdir()) == []
    assert list((home / "layer/upper/var/cache/packages").iterdir()) == []


@pytest.mark.parametrize("inner_first", [False, True])
def test_a_bind_below_another_shows_in_it(farmer: Farmer, *, inner_first: bool) -> None:
    outer = Bind(source=str(farmer.folder / "repos"), target="/var/repos")
    inner = Bind(source=str(farmer.folder / "core"), target="/var/repos/core")
    binds = (inner, outer) if inner_first else (outer, inner)
    farmer.hooks(INNER, "echo > /var/repos/core/in; echo > /var/repos/out", chroot_binds=binds)
    assert [path.name for path in (farmer.folder / "core").iterdir()] == ["in"]
    assert sorted(path.name for path in (farmer.folder / "repos").iterdir()) == ["core", "out"]


@pytest.mark.parametrize("target", ["/etc/hostname", "/srv/new", "/../../srv/new"])
def test_a_file_can_be_bound_over_a_file_or_where_none_is(farmer: Farmer, target: str) -> None:
    (farmer.folder / "name").write_text("bound\n")
    bind = Bind(source=str(farmer.folder / "name"), target=target)
    assert farmer.hooks(INNER, f"cat {target}", chroot_binds=(bind,)) == ["bound"]


def test_a_file_of_the_workspace_can_be_bound(farmer: Farmer) -> None:
    (farmer.folder / "ws").mkdir()
    (farmer.folder / "ws/name").write_text("bound\n")
    bind = Bind(source=str(farmer.folder / "ws/name"), target="/etc/hostname")
    assert farmer.hooks(INNER, "cat /etc/hostname", chroot_binds=(bind,)) == ["bound"]


def test_a_hook_may_unmount_what_it_was_given(farmer: Farmer) -> None:
    unmount = "chroot /proc/1/root umount $MARKDEVKIT_ROOTFS/var/cache/packages"
    commands = f"{unmount} && echo unmounted"
    assert farmer.hooks(INNER, commands, privileges=Privileges.HOST) == ["unmounted"]


def test_devices_can_be_changed_without_changing_those_of_the_host(farmer: Farmer) -> None:
    before = os.stat("/dev/full")  # noqa: PTH116 - as it is
    farmer.hooks(INNER, "chmod 0600 /dev/full; chown 7:7 /dev/full; test -c /dev/full")
    after = os.stat("/dev/full")  # noqa: PTH116
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )


def test_the_hosts_sys_is_to_be_read_alone_and_without_what_is_mounted_in_it(
    farmer: Farmer,
) -> None:
    printed = farmer.hooks(
        INNER,
        "test -d /sys/class && echo there",
        "echo 1 > /sys/kernel/profiling || echo refused",
        "grep -c ' [^ ]*/rootfs/sys/' /proc/1/mountinfo || true",
    )
    assert printed[0] == "there"
    assert "refused" in printed
    assert printed[-1] == "0"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        ("mkfifo resolv.conf", ""),
        ("ln -s /etc/passwd resolv.conf", ""),
        ("mkdir resolv.conf", "resolv.conf in the root filesystem: Is a directory"),
    ],
)
def test_the_name_servers_are_written_to_a_file_or_the_reason_is_told(
    farmer: Farmer, make: str, message: str
) -> None:
    build = farmer.build(OUTER, [f"cd $MARKDEVKIT_ROOTFS/etc && rm -f resolv.conf && {make}"])
    inner = Hook(name="i", commands=("test -f /etc/resolv.conf -a ! -L /etc/resolv.conf",))
    last = Step(number=2, kind=StepKind.HOOKS, phase=INNER, file="f.yml", hooks=(inner,))
    build = replace(build, steps=(*build.steps[:2], last))
    workspace = farmer.workspace(build)
    for step in (0, 1):
        perform(build, step, workspace, farmer.log)
    if not message:
        perform(build, 2, workspace, farmer.log)
        return
    with pytest.raises(BuildFailed, match=message):
        perform(build, 2, workspace, farmer.log)


def test_only_folders_below_the_workspace_are_shared_and_none_of_the_root_filesystem(
    farmer: Farmer,
) -> None:
    root = f"{farmer.folder}/ws"
    sources = (root, f"{root}/cache/deep", f"{root}/cache", f"{root}/rootfs/x", "/srv")
    binds = tuple(Bind(source=path, target="/mnt") for path in sources)
    target = Source(type=SourceType.HTTP, uri="http://h/s.tar", target=f"{root}/seed.tar")
    build = farmer.build(OUTER, [], chroot_binds=binds, source=target)
    assert farmer.workspace(build).shared == (f"{root}/cache",)


@pytest.mark.parametrize(
    ("phase", "command", "message"),
    [
        (INNER, "exit 7", r"hook h \(f.yml\): command exited with 7"),
        (OUTER, "exit 7", r"hook h \(f.yml\): command exited with 7"),
        (OUTER, "kill -SEGV $$", r"hook h \(f.yml\): command was ended by signal 11"),
        (INNER, "sh -c 'kill -SEGV $$'; exit $?", r"exited with 139 \(signal 11\)"),
        (INNER, "exit 255", r"exited with 255$"),
    ],
)
def test_the_first_failing_command_fails_the_step(
    farmer: Farmer, phase: HookType, command: str, message: str
) -> None:
    with pytest.raises(HookFailed, match=message):
        farmer.hooks(phase, command)


def test_a_later_command_is_named_by_its_number_and_ends_the_hook(farmer: Farmer) -> None:
    with pytest.raises(HookFailed, match="command 2 of 3 exited with 1"):
        farmer.hooks(INNER, "echo one", "false", "echo three")
    assert farmer.log.printed == ["one"]


def test_a_hook_with_retries_is_tried_again(farmer: Farmer) -> None:
    hook = Hook(
        name="flaky",
        type=OUTER,
        commands=("echo try; test -e marker || { touch marker; exit 9; }", "echo next"),
        retries=2,
    )
    step = Step(number=1, kind=StepKind.HOOKS, phase=OUTER, file="f.yml", hooks=(hook,))
    build = farmer.build(OUTER, [])
    build = replace(build, steps=(build.steps[0], step, build.steps[2]))
    perform(build, 1, farmer.workspace(build), farmer.log)
    assert farmer.log.printed == ["try", "try", "next"]
    assert "tries left: 2" in " ".join(line.text for line in farmer.log.lines)


def test_processes_without_end_are_bounded(farmer: Farmer) -> None:
    with cgroup.limited(StepLimits(pids=64)) as group:
        if group.unmet:
            pytest.skip("no control group with a limit on processes can be made here")
    hook = Hook(name="bomb", type=OUTER, commands=(FORKS,), entrypoint=(sys.executable, "-c"))
    step = Step(number=1, kind=StepKind.HOOKS, phase=OUTER, file="f.yml", hooks=(hook,))
    build = farmer.build(OUTER, [])
    build = replace(build, steps=(build.steps[0], step, build.steps[2]))
    with pytest.raises(HookFailed, match="exited with 1"):
        perform(build, 1, farmer.workspace(build), farmer.log, settings=Settings(pids_max=64))
    assert "BlockingIOError" in farmer.log.printed[-1]


FORKS = """
import os, signal
for _ in range(200):
    if os.fork() == 0:
        signal.pause()
"""


def test_fchroot_enters_too_and_the_devices_of_the_host_are_out_of_reach(
    farmer: Farmer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fchroot binds /dev into the root filesystem: here it is the step's own."""
    programs = Path(sys.executable).parent
    if not (programs / "fchroot").exists() or not Path("/bin/chroot").exists():
        pytest.skip("needs fchroot, and chroot where fchroot looks for it: /bin/chroot")
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    commands = ("echo $USE > /dev/null; ls /dev/zero", "rm -rf /dev/*; test ! -e /dev/stdin; pwd")
    printed = farmer.hooks(INNER, *commands, chroot=ChrootKind.FCHROOT, environment={"USE": "-X"})
    assert "/dev/zero" in printed
    assert "/" in printed
    assert Path("/dev/zero").is_char_device()
    assert (farmer.folder / "ws/cache").is_dir()


def test_silence_longer_than_the_limit_ends_a_step(farmer: Farmer) -> None:
    build = farmer.build(INNER, ["exec sleep 1000"])
    workspace = farmer.workspace(build)
    perform(build, 0, workspace, farmer.log)
    with pytest.raises(TimedOut, match="hook h .* printed nothing for 0.3 s"):
        perform(build, 1, workspace, farmer.log, settings=Settings(idle_limit_s=0.3))


def test_killing_the_tree_ends_what_left_its_session(farmer: Farmer) -> None:
    build = farmer.build(OUTER, ["setsid sh -c 'echo $$; exec sleep 1000' & echo started; wait"])
    workspace = farmer.workspace(build)
    perform(build, 0, workspace, farmer.log)

    class Killer(Log):
        killed = False

        def line(self, line: Line) -> None:
            if line.text == "started":
                self.killed = kill_tree(Path(workspace.home))

    killer = Killer()
    with pytest.raises(StepKilled, match="the step's process was killed by signal 9$"):
        perform(build, 1, workspace, killer)
    assert killer.killed
    assert eventually(lambda: not processes_below(farmer.folder))
    assert not kill_tree(Path(workspace.home))


def test_a_step_whose_own_process_is_killed_says_so(farmer: Farmer) -> None:
    build = farmer.build(OUTER, ["echo started; sleep 1000"])
    workspace = farmer.workspace(build)
    perform(build, 0, workspace, farmer.log)

    class Killer(Log):
        def line(self, line: Line) -> None:
            if line.text == "started":
                (outer, _) = (Path(workspace.home) / "tree.pid").read_text().split()
                children = Path(f"/proc/{outer}/task/{outer}/children").read_text().split()
                kill_all([int(pid) for pid in children])

    with pytest.raises(StepKilled, match="the step's process was killed by signal 9$"):
        perform(build, 1, workspace, Killer())


def test_a_step_that_runs_out_of_memory_says_so(farmer: Farmer, little_memory: None) -> None:
    eats = f"exec {sys.executable} -c 'bytearray(2**30)'"
    build = farmer.build(OUTER, [f"echo 1000 > /proc/self/oom_score_adj; {eats}"])
    workspace = farmer.workspace(build)
    perform(build, 0, workspace, farmer.log)
    with pytest.raises(HookFailed, match="signal 9: out of memory, the kernel killed"):
        perform(build, 1, workspace, farmer.log)


@pytest.fixture
def little_memory() -> Iterator[None]:
    """This process, and what it starts, in a control group with little memory: more than this
    process has by the end of a long run, since the kernel kills the largest."""
    (own,) = re.findall(r":memory:(.*)", Path("/proc/self/cgroup").read_text()) or [""]
    root = cgroup.MOUNT / "memory"
    group = root / f"stagefarm-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(768 * 2**20))
    except OSError:
        pytest.skip("needs control groups of version 1 that this user may make")
    try:
        (group / "cgroup.procs").write_text(str(os.getpid()))
        yield
    finally:
        (root / own.lstrip("/") / "cgroup.procs").write_text(str(os.getpid()))
        assert eventually(lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()


def test_a_step_that_cannot_be_started_is_no_failure_of_the_build(
    farmer: Farmer, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = farmer.build(OUTER, ["true"])
    monkeypatch.setattr("tasks.step.launcher.NAMESPACES", ("unshare", "--root=/proc/none", "--"))
    with pytest.raises(HostUnfit, match="cannot start the step's process: unshare: "):
        perform(build, 0, farmer.workspace(build), farmer.log)


def test_the_tree_dies_with_the_process_that_wanted_it(farmer: Farmer, tmp_path: Path) -> None:
    build = farmer.build(OUTER, ["setsid sleep 1000 & echo started; wait"])
    workspace = farmer.workspace(build)
    perform(build, 0, workspace, farmer.log)
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    arguments = [str(farmer.folder), str(farmer.seed)]
    with subprocess.Popen(
        [sys.executable, script, *arguments],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    ) as parent:
        assert parent.stdout
        assert parent.stdout.readline() == b"started\n"
        assert is_locked(Path(workspace.home))
        parent.send_signal(signal.SIGKILL)
    assert eventually(lambda: not is_locked(Path(workspace.home)))
    assert eventually(lambda: not processes_below(farmer.folder))


PARENT = """
import sys
from pathlib import Path
from tasks.model import HookType
from tests.farmer import Farmer, Log
from tasks.settings import Settings
from tasks.step.launcher import perform

class Say(Log):
    def line(self, line):
        print(line.text, flush=True) if line.text == "started" else None

farmer = Farmer(Path(sys.argv[1]), Path(sys.argv[2]))
build = farmer.build(HookType.OUTER_CHROOT, ["setsid sleep 1000 & echo started; wait"])
workspace = farmer.workspace(build)
with workspace.lock():
    perform(build, 1, workspace, Say())
"""


def test_a_locked_workspace_keeps_others_out(farmer: Farmer) -> None:
    workspace = farmer.workspace(farmer.build(OUTER, []))
    refused = pytest.raises(HostUnfit, match="in use by another build")
    with workspace.lock(), refused, workspace.lock():
        pass
    with workspace.lock():
        assert is_locked(Path(workspace.home))
    workspace.remove()
    assert not Path(workspace.home).exists()


def processes_below(folder: Path) -> list[str]:
    """The processes that stand, or see their root, below `folder`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            places = [(process / "cwd").readlink(), (process / "root").readlink()]
        except OSError:
            continue
        if any(place.is_relative_to(folder) for place in places):
            found.append((process / "cmdline").read_text())
    return found
