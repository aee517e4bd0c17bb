"""Finds the files that ship with stagefarm besides its code: jobs, hooks, deploy."""

from __future__ import annotations

import sysconfig
from pathlib import Path

from tasks.errors import HostUnfit


def shipped(name: str) -> Path:
    """The folder `name` of a checkout or of an installed wheel; `HostUnfit` if neither has it."""
    checkout = Path(__file__).parents[1] / name
    installed = Path(sysconfig.get_path("data")) / "share/stagefarm" / name
    for folder in (checkout, installed):
        if folder.is_dir():
            return folder
    raise HostUnfit(f"this installation of stagefarm has no {name}/", "reinstall stagefarm")
