"""Mounting with util-linux, only inside a step's private mount namespace, which ends all mounts."""

from __future__ import annotations

from pathlib import Path

from tasks.errors import HostUnfit
from tasks.host import mount_table
from tasks.host.process import output


def bind(source: str | Path, target: str | Path) -> None:
    """Bind the folder or file `source`, with all mounted below it, at `target`."""
    mount("--rbind", str(source), str(target))


def unmount(target: Path) -> None:
    """Detach what is mounted at `target`; the mount ends once it is unused. Nothing happens if a
    hook has unmounted it already."""
    code, said = output(["umount", "--lazy", "--recursive", str(target)])
    if code and mount_table.mounted_at_or_below(target):
        raise HostUnfit(f"cannot unmount {target}: {said}")


def mount(*arguments: str) -> None:
    """Run `mount` with these arguments; `HostUnfit` with its message where it fails."""
    code, said = output(["mount", *arguments])
    if code:
        raise HostUnfit(f"cannot mount {arguments[-1]}: {said}")
