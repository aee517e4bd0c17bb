"""The step that tests a stage on its build host, once it is packed.

Every test runs in a container of its own, without a network, on a throw-away layer above what was
packed: it changes neither the tarball nor what other tests find. Results are kept here, where the
stage does not reach. A test that fails does not fail the build, and one that this host cannot run
is skipped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from tasks.artifacts.gate_tests import GateTest, Outcome
from tasks.container.container import Contained
from tasks.errors import BuildFailed, HostUnfit, of_system
from tasks.host import syscalls
from tasks.host.binfmt import is_foreign, require_handler_of
from tasks.host.files import make_folder
from tasks.host.mounts import unmount
from tasks.model import ChrootKind, Hook, Network, Privileges, SmokeTest, Step
from tasks.reporting import Line, Report, Stream
from tasks.rootfs.chroot import Chroot, Way, is_narrow
from tasks.rootfs.layer import mount_layer
from tasks.step import boot
from tasks.step.hooks import Hooks
from tasks.step.protocol import Assignment
from tasks.step.smoke import SMOKES, Smoke
from tasks.step.stage import Packed, Stage

MEMORY_SHARE = "25%"
"""How much of this host's memory a test may fill with files, unless the job has a limit: with that
the kernel would kill a process, maybe our own, before the files reach their limit."""

Found = tuple[Outcome, str]
"""The outcome of a test, and why it is that."""


@dataclass(frozen=True, slots=True)
class Gate:
    """The tests of one step. Create it inside the step's namespaces."""

    assignment: Assignment
    report: Report

    @property
    def _step(self) -> Step:
        return self.assignment.build.steps[self.assignment.step]

    @property
    def _packed(self) -> Packed:
        return Packed(self.assignment.workspace.rootfs)

    def run(self) -> tuple[GateTest, ...]:
        """Run every test, in order."""
        tests: list[tuple[str, Callable[[], Found]]] = [
            (name, partial(self._smoke, name, smoke)) for name, smoke in SMOKES.items()
        ]
        if self._step.boot:
            tests.append((SmokeTest.BOOT, self._boot))
        tests += [(hook.name, partial(self._hook, hook)) for hook in self._step.hooks]
        return tuple(self._judged(name, test) for name, test in tests)

    def _judged(self, name: str, test: Callable[[], Found]) -> GateTest:
        began = time.monotonic()
        outcome, message = _outcome(test)
        seconds = round(time.monotonic() - began, 3)
        self._say(name, f"{name}: {outcome}{message and f': {message}'}")
        return GateTest(name=name, outcome=outcome, message=message, duration_s=seconds)

    def _say(self, name: str, text: str, stream: Stream = Stream.NOTE) -> None:
        self.report.line(Line(text=text, hook=name, stream=stream))

    # The three kinds of tests

    def _smoke(self, name: str, smoke: Smoke) -> Found:
        if reason := smoke.inapplicable(self._packed):
            return Outcome.SKIPPED, reason
        with self._copy() as root, self._chroot(root).bound() as way:
            found = list(smoke.problems(self._stage(name, way)))
        return (Outcome.FAILED if found else Outcome.PASSED), "; ".join(found)

    def _boot(self) -> Found:
        if reason := boot.inapplicable(self._packed):
            return Outcome.SKIPPED, reason
        if is_foreign(self._packed.root):
            return Outcome.SKIPPED, "this host does not boot stages of another architecture"
        with self._copy() as root, boot.booting(self._bootable(root)) as machine:
            return boot.wait(self._stage(SmokeTest.BOOT, Way(enter=machine.enter)), machine)

    def _hook(self, hook: Hook) -> Found:
        with self._copy() as root, self._chroot(root).bound(hook.chroot_binds) as way:
            Hooks(self.assignment, self.report).run_one(hook, way)
        return Outcome.PASSED, ""

    # Where they run

    @contextmanager
    def _copy(self) -> Iterator[Path]:
        """The root filesystem, to be changed at will: the changes are in memory, and end with the
        body. `HostUnfit` where its programs do not run, or overlayfs cannot be used."""
        require_handler_of(self._packed.root, self.assignment.host.machines)
        room = make_folder(Path(self.assignment.workspace.home, "gate"))
        limit = self.assignment.build.limits.memory_bytes // 2
        options = f"mode=0700,size={limit or MEMORY_SHARE}"
        syscalls.mount("gate", room, "tmpfs", syscalls.MS_NODEV, options)
        try:
            root = make_folder(room / "rootfs")
            mount_layer(room / "layer", lower=self._packed.root, target=root)
            yield root
        finally:
            unmount(room)

    def _chroot(self, root: Path) -> Chroot:
        """The way into a copy: contained however the job enters it, and without the binds of the
        job, since it is tested as it is published."""
        build = replace(self.assignment.build, chroot_binds=(), chroot=ChrootKind.NATIVE)
        return Chroot(build, self._step, root, self.assignment.host)

    def _bootable(self, root: Path) -> Contained:
        host = self.assignment.host
        return Contained(
            rootfs=root,
            binds=(),
            privileges=Privileges.SANDBOX,
            network=Network.NONE,
            filter=host.filters[Privileges.SANDBOX],
            narrow=is_narrow(root),
            init=boot.init_in(host.group_of_init),
        )

    def _stage(self, name: str, way: Way) -> Stage:
        assert way.enter, "tests are contained"
        return Stage(self._packed.root, way.enter, partial(self._say, name))


def _outcome(test: Callable[[], Found]) -> Found:
    """What the test found: what the stage does wrong is a failure, what this host cannot do is
    none."""
    try:
        return test()
    except BuildFailed as error:
        return Outcome.FAILED, str(error)
    except HostUnfit as error:
        return Outcome.SKIPPED, str(error)
    except OSError as error:
        return Outcome.SKIPPED, str(of_system(error))
