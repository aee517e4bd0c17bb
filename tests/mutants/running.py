"""Running tests against mutants: each in a copy of the tree, and in namespaces of its own.

A mutant is written to its file in the copy, so that processes which a test starts have it too.
The tests run in a forked child, which saves most of the time: libraries are loaded, and for a
mutant of a script all modules are. The child is the first process of a PID namespace, so nothing
outlives it. The tests that killed the mutants before come first: most mutants end with them.
"""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import pytest

from tasks.host.removal import remove_tree

ROOT = Path(__file__).parents[2]
OURS = ("tests", "tasks", "orchestrator")
LIMIT_S = 120.0
OPTIONS = (
    *("-x", "-q", "--tb=short", "--assert=plain", "--timeout=30"),
    *("-p", "no:cacheprovider", "-p", "no:xdist"),
)
_NEW_NAMESPACES = 0x00020000 | 0x20000000  # mounts, processes


class Fate(StrEnum):
    KILLED = "killed"
    SURVIVED = "survived"


@dataclass(frozen=True, slots=True)
class Trial:
    """What the tests made of a mutant, the test that failed first, and what pytest wrote."""

    fate: Fate
    killer: str
    said: str
    took_s: float


@dataclass(eq=False)  # pytest keeps plugins in a set
class KillersFirst:
    """A plugin of pytest: runs `killers` first, and notes the test that fails."""

    killers: Sequence[str]
    failed: list[str] = field(default_factory=list)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        rank = {name: place for place, name in enumerate(self.killers)}
        items.sort(key=lambda item: rank.get(item.nodeid, len(rank)))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)


class Slot:
    """A process with a copy of the tree, in which one mutant at a time is under test."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.tree = folder, folder / "tree"
        self.killers: dict[str, list[str]] = {}
        self.loaded: set[Sequence[str]] = set()
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True).stdout
        for name in os.fsdecode(names).split("\0"):
            if (ROOT / name).is_file():
                (self.tree / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, self.tree / name)
        self._enter()

    def _enter(self) -> None:
        """Have this process import the modules of the copy from now on."""
        os.chdir(self.tree)
        os.environ |= {"PYTHONPATH": str(self.tree), "PYTHONDONTWRITEBYTECODE": "1"}
        os.environ["TMPDIR"] = tempfile.tempdir = str(self.folder / "tmp")
        sys.dont_write_bytecode = True
        sys.path.insert(0, str(self.tree))

    def try_out(self, file: str, text: str, tests: Sequence[str]) -> Trial:
        """What `tests` make of `text` in `file`."""
        started = time.monotonic()
        (self.folder / "tmp").mkdir()
        if file.endswith(".lua"):
            self._load(tests)
        original = (self.tree / file).read_text()
        (self.tree / file).write_text(text)
        try:
            passed = self._pytest(file, tests)
        finally:
            (self.tree / file).write_text(original)
            remove_tree(self.folder / "tmp")
        said = (self.folder / "output").read_text(errors="replace")
        killer = (self.folder / "killer").read_text()
        if killer:
            known = [name for name in self.killers.get(file, []) if name != killer]
            self.killers[file] = [killer, *known]
        fate = Fate.SURVIVED if passed else Fate.KILLED
        return Trial(fate, killer, said, time.monotonic() - started)

    def _load(self, tests: Sequence[str]) -> None:
        """Import the modules of `tests` into this process: no mutant of a script changes them."""
        if tests in self.loaded:
            return
        _forget_modules()
        said, own = os.open(self.folder / "output", os.O_WRONLY | os.O_CREAT), os.dup(1)
        os.dup2(said, 1)
        try:
            pytest.main([*OPTIONS, "--collect-only", *tests])
        finally:
            sys.stdout.flush()
            os.dup2(own, 1)
            os.close(own)
            os.close(said)
        self.loaded = {tests}

    def _pytest(self, file: str, tests: Sequence[str]) -> bool:
        """Whether all `tests` pass, within the time that they have."""
        (self.folder / "killer").write_text("")
        child = os.fork()
        if not child:
            self._become_tests(file, tests)
        waiting = os.pidfd_open(child)
        try:
            ended, _, _ = select.select([waiting], [], [], LIMIT_S)
            if not ended:
                os.kill(child, signal.SIGKILL)  # the kernel ends the rest of its namespace
        finally:
            os.close(waiting)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    def _become_tests(self, file: str, tests: Sequence[str]) -> None:
        """In a child: run `tests` in namespaces of their own, and exit as they do."""
        output = os.open(self.folder / "output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        status = 70
        try:
            if ctypes.CDLL(None, use_errno=True).unshare(_NEW_NAMESPACES):
                raise OSError(ctypes.get_errno(), "unshare")
            first = os.fork()
            if first:
                os._exit(os.waitstatus_to_exitcode(os.waitpid(first, 0)[1]) and 1)
            status = self._run(file, tests)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _run(self, file: str, tests: Sequence[str]) -> int:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        subprocess.run(["mount", "-t", "proc", "proc", "/proc"], check=True)
        if not file.endswith(".lua"):
            _forget_modules()
        order = KillersFirst(self.killers.get(file, []))
        status = int(pytest.main([*OPTIONS, *tests], plugins=[order]))
        (self.folder / "killer").write_text("".join(order.failed[:1]))
        return status


def _forget_modules() -> None:
    """Have our modules imported again, from the copy."""
    for name in [name for name in sys.modules if name.partition(".")[0] in OURS]:
        if not name.startswith("tests.mutants"):
            del sys.modules[name]
