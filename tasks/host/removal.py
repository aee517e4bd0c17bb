"""Removing a build's folders: never through a mount or a link.

`rm` walks the tree: it uses open directory descriptors, not names, so a link cannot redirect it;
it does not follow links, stays on the file system, and handles trees of any depth.
"""

from __future__ import annotations

import os
from pathlib import Path

from tasks.errors import HostUnfit
from tasks.host import mount_table
from tasks.host.process import output


def remove_tree(path: Path) -> None:
    """Remove `path` and all below it, if it exists, immutable files too; `HostUnfit` where
    something is mounted at or below it, or cannot be removed."""
    if not os.path.lexists(path):
        return
    if mounted := mount_table.mounted_at_or_below(path):
        raise HostUnfit(
            f"not removing {path}: something is mounted at {mounted[0]}",
            f"umount {mounted[0]}",
        )
    if (said := _rm(path)) and os.path.lexists(path):
        output(["chattr", "-R", "-f", "-i", "-a", "--", str(path)])
        said = _rm(path)
    if os.path.lexists(path):
        raise HostUnfit(f"cannot remove {path}: {said.partition(chr(10))[0]}")


def _rm(path: Path) -> str:
    """The error messages of `rm`; empty if it succeeded."""
    code, said = output(["rm", "-rf", "--one-file-system", "--", str(path)])
    return said if code else ""
