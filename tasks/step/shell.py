"""A shell in a root filesystem that a build left. `exec_shell` on the host's side replaces this
process by namespaces, in which `python -m tasks.step.shell` mounts what is needed and goes in."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from tasks.errors import HostUnfit, StagefarmError
from tasks.host.binfmt import runnable
from tasks.host.process import standard_environment
from tasks.model import Build, HookType, Step, StepKind, decode, encode
from tasks.rootfs.chroot import Chroot
from tasks.rootfs.workspace import Workspace
from tasks.step.hooks import environment
from tasks.step.launcher import NAMESPACES, require_root


@dataclass(frozen=True, slots=True, kw_only=True)
class ShellRequest:
    """Which root filesystem to enter, and with which command."""

    build: Build
    workspace: Workspace
    argv: tuple[str, ...]
    machines: tuple[int, ...]


def exec_shell(build: Build, workspace: Workspace, argv: Sequence[str]) -> NoReturn:
    """Become a process tree in namespaces of its own that runs `argv` in the root filesystem of
    `workspace`, on this terminal; `HostUnfit` where there is none."""
    require_root()
    if not workspace.rootfs.is_dir() or not any(workspace.rootfs.iterdir()):
        raise HostUnfit(
            f"there is no root filesystem at {workspace.rootfs}",
            "build the job with --cleanup=false, which keeps it",
        )
    visit = ShellRequest(build=build, workspace=workspace, argv=tuple(argv), machines=runnable())
    descriptor = os.memfd_create("visit", 0)
    os.write(descriptor, encode(visit))
    command = [*NAMESPACES, sys.executable, "-P", "-m", "tasks.step.shell", str(descriptor)]
    os.execvpe(command[0], command, standard_environment())


def _enter(visit: ShellRequest) -> NoReturn:
    visit.workspace.mount_layer()
    step = Step(number=0, kind=StepKind.HOOKS, phase=HookType.INNER_CHROOT)
    chroot = Chroot(visit.build, visit.workspace.rootfs, visit.machines)
    chroot.prepare()
    with chroot.bound() as enter:
        command = enter(visit.argv)
        seen = dict(environment(visit.build, step, visit.workspace))
        os.execvpe(command[0], command, seen | {"PS1": f"({visit.build.job}) \\w \\$ "})


def main() -> int:
    """Take the visit from the descriptor that is named, and go in."""
    try:
        _enter(decode(Path(f"/proc/self/fd/{sys.argv[1]}").read_bytes(), ShellRequest))
    except StagefarmError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
