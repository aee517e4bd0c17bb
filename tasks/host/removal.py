"""Removing a build's folders: never through a mount, never through a link, never beyond.

`rm` does the walking: it goes by open folders, not by names, so nobody can put a link in its way;
it does not follow links, does not leave the file system, and bears trees of any depth.
"""

from __future__ import annotations

import os
from pathlib import Path

from tasks.errors import HostUnfit
from tasks.host import mount_table
from tasks.host.process import output


def remove_tree(path: Path) -> None:
    """Remove `path` and all below it, if it is there, also what was made immutable; `HostUnfit`
    where something is mounted below, or something cannot be removed."""
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
    """What `rm` complains of."""
    code, said = output(["rm", "-rf", "--one-file-system", "--", str(path)])
    return said if code else ""
