"""Opens the mirrors that a release file names."""

from __future__ import annotations

from pathlib import Path

from orchestrator.formats.releasefile import Target as Named
from orchestrator.formats.releasefile import TargetKind
from orchestrator.release.targets.folder import FolderTarget
from orchestrator.release.targets.rsync import RsyncTarget
from orchestrator.release.targets.target import Target
from tasks.errors import BadInput


def open_target(named: Named, folder: Path, locks: Path) -> Target:
    """The mirror at `named`, whose relative paths start from `folder`; `locks` is a folder for
    locks of this machine."""
    if named.kind is TargetKind.FOLDER:
        root = (folder / named.to).resolve()
        return FolderTarget(root, named.url.rstrip("/") or root.as_uri())
    if named.kind is TargetKind.RSYNC:
        return RsyncTarget(named.to, named.url.rstrip("/"), locks)
    raise BadInput(
        f"cannot publish to {named.to} yet", "name a folder, or another machine for rsync"
    )
