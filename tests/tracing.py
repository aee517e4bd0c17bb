"""What a process asks of the kernel for its files, in order, as strace(1) sees it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

WRITES = ("write", "pwrite64", "writev", "sendfile", "copy_file_range", "ftruncate")
RENAMES = ("rename", "renameat", "renameat2")
CALLS = (*WRITES, *RENAMES, "fsync", "fdatasync", "syncfs", "openat", "mkdir", "mkdirat")

_LINE = re.compile(r"^\d+ +(\w+)\((.*)\) += +(-?\d+)")
_PATH = re.compile(r'<(/[^>]*)>|"([^"]*)"')


@dataclass(frozen=True, slots=True)
class Call:
    """One call that succeeded, and the paths in it."""

    name: str
    paths: tuple[Path, ...]
    text: str


@cache
def can_trace() -> bool:
    return (
        bool(shutil.which("strace"))
        and not subprocess.run(
            ["strace", "-o", "/dev/null", "true"], capture_output=True, check=False
        ).returncode
    )


def traced(code: str, folder: Path, *arguments: str) -> list[Call]:
    """What the Python program `code` does to files below `folder`. Skips where nothing can be
    traced."""
    if not can_trace():
        pytest.skip("needs strace, and to be allowed to use it")
    output = folder / "trace"
    command = ["strace", "-f", "-y", "-s", "4096", "-e", f"trace={','.join(CALLS)}"]
    command += ["-o", str(output), sys.executable, "-c", code, *arguments]
    subprocess.run(command, check=True)
    return [call for call in _calls(output.read_text()) if _below(call, folder)]


def _calls(trace: str) -> Iterator[Call]:
    for line in trace.splitlines():
        if (found := _LINE.match(line)) and int(found[3]) >= 0:
            paths = [Path(fd or name) for fd, name in _PATH.findall(found[2])]
            absolute = tuple(path for path in paths if path.is_absolute())
            yield Call(found[1], absolute, line)


def _below(call: Call, folder: Path) -> bool:
    return any(path.is_relative_to(folder) for path in call.paths)


def unsafe(calls: list[Call]) -> list[str]:
    """What a power cut could undo or show half done, of files that get their name by a rename:
    contents or folders that are not synced before it, and a folder that is not after it."""
    dirty: dict[Path, str] = {}
    problems: list[str] = []
    for call in calls:
        if call.name in ("fsync", "fdatasync"):
            dirty.pop(call.paths[0], None)
        elif call.name in RENAMES:
            old, new = call.paths[-2:]
            problems += [
                f"{path} was renamed before its {what} reached the disk"
                for path, what in dirty.items()
                if path.is_relative_to(old)
            ]
            dirty = {path: what for path, what in dirty.items() if not path.is_relative_to(old)}
            dirty[new.parent] = "new name"
        elif call.name in WRITES:
            dirty[call.paths[call.name == "copy_file_range"]] = "content"
        elif "O_CREAT" in call.text or call.name.startswith("mkdir"):
            made = call.paths[-1]
            dirty.setdefault(made.parent, "new name")
            dirty.setdefault(made, "content")
    return problems + [
        f"the {what} in {path} never reached the disk" for path, what in dirty.items()
    ]
