"""Mounts, by util-linux. Only inside the private mount namespace of a step, which ends them all."""

from __future__ import annotations

from pathlib import Path

from tasks.errors import HostUnfit
from tasks.host import mount_table
from tasks.host.process import output


def bind(source: str | Path, target: str | Path) -> None:
    """Show the folder or file `source`, with all mounted below it, at `target`."""
    mount("--rbind", str(source), str(target))


def unmount(target: Path) -> None:
    """Take what is mounted at `target` out of sight, and away once nobody uses it. A hook may have
    done it before."""
    code, said = output(["umount", "--lazy", "--recursive", str(target)])
    if code and mount_table.mounted_at_or_below(target):
        raise HostUnfit(f"cannot unmount {target}: {said}")


def mount(*arguments: str) -> None:
    """`mount` with these arguments; `HostUnfit` with its words where it fails."""
    code, said = output(["mount", *arguments])
    if code:
        raise HostUnfit(f"cannot mount {arguments[-1]}: {said}")
