"""Removing a build's folders: never through a mount, never through a link, never beyond."""

from __future__ import annotations

import shutil
from pathlib import Path

from tasks.errors import HostUnfit


def remove_tree(path: Path) -> None:
    """Remove `path` and all below it, if it is there; `HostUnfit` where something is mounted
    below. Links are removed, not followed."""
    mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    if below := [point for point in mounted if Path(point).is_relative_to(path)]:
        raise HostUnfit(f"not removing {path}: something is mounted at {below[0]}")
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)
