"""What containment costs: to open and close a container, and to run a command in it, beside the
same with the privileges of the host. `python -m tests.bench.containment`, as root.

The fastest of many rounds is shown, in turn: what else the machine does only adds.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from orchestrator.demo.seed import make_rootfs
from tasks.container import seccomp
from tasks.host.process import run
from tasks.model import HookType, Privileges, Step, StepKind
from tasks.rootfs.chroot import Chroot, HostFacts, Way
from tasks.step.launcher import NAMESPACES
from tests.builds import any_build

ROUNDS = 60
INSIDE = "inside"


def main() -> None:
    if sys.argv[1:] != [INSIDE]:
        os.execvp(NAMESPACES[0], [*NAMESPACES, sys.executable, "-m", __spec__.name, INSIDE])
    with tempfile.TemporaryDirectory() as folder:
        rootfs = Path(folder)
        make_rootfs(rootfs)
        opened, commands = {}, {}
        for privileges in Privileges:
            chroot = _chroot(rootfs, privileges)
            chroot.prepare()
            opened[privileges] = _fastest_ms(partial(_open, chroot.bound))
            with chroot.bound() as way:
                commands[privileges] = _fastest_ms(partial(_command, way))
        for privileges in Privileges:
            print(
                f"{privileges:<10} {opened[privileges]:6.2f} ms a step, "
                f"{commands[privileges]:6.2f} ms a command"
            )
        os.system(f"umount --recursive {rootfs}/dev {rootfs}/proc {rootfs}/sys 2> /dev/null")


def _chroot(rootfs: Path, privileges: Privileges) -> Chroot:
    step = Step(number=0, kind=StepKind.HOOKS, phase=HookType.INNER_CHROOT, privileges=privileges)
    kinds = (Privileges.CONTAINED, Privileges.SANDBOX)
    host = HostFacts(machines=(62, 183), filters={kind: seccomp.program(kind) for kind in kinds})
    return Chroot(any_build(steps=(step,)), step, rootfs, host)


def _open(bound: Callable[[], AbstractContextManager[Way]]) -> None:
    with bound():
        pass


def _command(way: Way) -> None:
    run([*way.prefix, "/bin/true"], on_line=lambda *_: None, enter=way.enter)


def _fastest_ms(action: Callable[[], None]) -> float:
    taken = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        action()
        taken.append(time.perf_counter() - start)
    return min(taken) * 1000


if __name__ == "__main__":
    main()
