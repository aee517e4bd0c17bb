"""Running tests against mutants: each in a copy of the tree, and in namespaces of its own.

A mutant is written to its file in the copy, so that processes which a test starts have it too.
The tests run in a child that is forked when the libraries are loaded, which saves most of the
time; it is the first process of a PID namespace, so nothing outlives it.
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
import traceback
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from tasks.host.removal import remove_tree

ROOT = Path(__file__).parents[2]
OURS = ("tests", "tasks", "orchestrator")
LIMIT_S = 120.0
_NEW_NAMESPACES = 0x00020000 | 0x20000000  # mounts, processes


class Fate(StrEnum):
    KILLED = "killed"
    SURVIVED = "survived"


class Slot:
    """A copy of the tree in which one mutant at a time is under test."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.tree = folder, folder / "tree"
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True).stdout
        for name in os.fsdecode(names).split("\0"):
            if (ROOT / name).is_file():
                (self.tree / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, self.tree / name)

    def try_out(self, file: str, text: str, tests: Sequence[str]) -> tuple[Fate, str]:
        """What `tests` make of `text` in `file`, and what pytest wrote."""
        original = (self.tree / file).read_text()
        (self.tree / file).write_text(text)
        try:
            passed = self._pytest(tests)
        finally:
            (self.tree / file).write_text(original)
            remove_tree(self.folder / "tmp")
        said = (self.folder / "output").read_text(errors="replace")
        return Fate.SURVIVED if passed else Fate.KILLED, said

    def _pytest(self, tests: Sequence[str]) -> bool:
        """Whether all `tests` pass, within the time that they have."""
        (self.folder / "tmp").mkdir()
        child = os.fork()
        if not child:
            self._become_tests(tests)
        waiting = os.pidfd_open(child)
        try:
            ended, _, _ = select.select([waiting], [], [], LIMIT_S)
            if not ended:
                os.kill(child, signal.SIGKILL)  # the kernel ends the rest of its namespace
        finally:
            os.close(waiting)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    def _become_tests(self, tests: Sequence[str]) -> None:
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
            status = self._run(tests)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _run(self, tests: Sequence[str]) -> int:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        subprocess.run(["mount", "-t", "proc", "proc", "/proc"], check=True)
        os.chdir(self.tree)
        os.environ |= {"PYTHONPATH": str(self.tree), "PYTHONDONTWRITEBYTECODE": "1"}
        os.environ["TMPDIR"] = tempfile.tempdir = str(self.folder / "tmp")
        sys.dont_write_bytecode = True
        sys.path.insert(0, str(self.tree))
        for name in [name for name in sys.modules if name.partition(".")[0] in OURS]:
            del sys.modules[name]
        import pytest

        options = [
            "-x",
            "-q",
            "--tb=short",
            "--assert=plain",
            "-p",
            "no:cacheprovider",
            "--timeout=60",
        ]
        return int(pytest.main([*options, *tests]))
