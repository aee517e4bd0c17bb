"""A shell in a root filesystem that a build left. `exec_shell` on the host's side replaces this
process by namespaces, in which `python -m tasks.step.shell` mounts what is needed and starts the
shell as it would start a hook."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from tasks.errors import HostUnfit, StagefarmError
from tasks.host.process import run_on_terminal, standard_environment
from tasks.model import Build, HookType, Step, StepKind, decode, encode
from tasks.rootfs.chroot import Chroot, HostFacts
from tasks.rootfs.workspace import Workspace
from tasks.step.hooks import FATAL_SIGNAL, environment
from tasks.step.launcher import NAMESPACES, facts, require_root

NOT_FOUND = 127
"""What a shell ends with where there is no such command."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShellRequest:
    """Which root filesystem to enter, and with which command."""

    build: Build
    workspace: Workspace
    argv: tuple[str, ...]
    host: HostFacts


def exec_shell(
    build: Build, workspace: Workspace, argv: Sequence[str], redis_url: str = ""
) -> NoReturn:
    """Become a process tree in namespaces of its own that runs `argv` in the root filesystem of
    `workspace`, on this terminal; `HostUnfit` where there is none, or where a build runs.

    No build starts there until the shell has exited: `unshare`, the parent of the tree, inherits
    the lock's descriptor.
    """
    require_root()
    if not workspace.rootfs.is_dir():
        raise _nothing_there(workspace)
    lock = workspace.lock_for_shell()
    if not any(workspace.rootfs.iterdir()):
        raise _nothing_there(workspace)
    request = ShellRequest(
        build=build,
        workspace=workspace,
        argv=tuple(argv),
        host=facts(build, _step(build), redis_url),
    )
    descriptor = os.memfd_create("request", 0)
    os.write(descriptor, encode(request))
    os.lseek(descriptor, 0, os.SEEK_SET)
    descriptors = [str(descriptor), str(lock)]
    command = [*NAMESPACES, sys.executable, "-P", "-m", "tasks.step.shell", *descriptors]
    os.execvpe(command[0], command, standard_environment())


def _nothing_there(workspace: Workspace) -> HostUnfit:
    return HostUnfit(
        f"there is no root filesystem at {workspace.rootfs}",
        "build the job with --cleanup=false, which keeps it",
    )


def _step(build: Build) -> Step:
    """The step that the shell is in: as an inner hook of the job would be."""
    return Step(
        number=0,
        kind=StepKind.HOOKS,
        phase=HookType.INNER_CHROOT,
        privileges=build.privileges,
        network=build.network,
    )


def _enter(request: ShellRequest) -> int:
    request.workspace.mount_layer()
    step = _step(request.build)
    rootfs = request.workspace.rootfs
    chroot = Chroot(request.build, step, rootfs, request.host)
    chroot.prepare()
    seen = dict(environment(request.build, step, request.workspace))
    seen["PS1"] = f"({request.build.job}) \\w \\$ "
    with chroot.bound() as way:
        try:
            code = run_on_terminal([*way.prefix, *request.argv], env=seen, enter=way.enter)
        except HostUnfit as error:
            if not isinstance(error.__cause__, FileNotFoundError | PermissionError):
                raise
            print(f"error: {error} in the root filesystem", file=sys.stderr)  # noqa: T201
            return NOT_FOUND
    return FATAL_SIGNAL - code if code < 0 else code


def main() -> int:
    """Take the request from the first descriptor that is named, and go in. The shell gets neither
    of them: the second is a folder of the host."""
    request, lock = map(int, sys.argv[1:])
    os.set_inheritable(lock, False)  # noqa: FBT003
    try:
        with os.fdopen(request, "rb") as file:
            asked = decode(file.read(), ShellRequest)
        return _enter(asked)
    except StagefarmError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
