"""Opens the mirrors that a release file names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from orchestrator.formats.releasefile import Target as Named
from orchestrator.formats.releasefile import TargetKind
from orchestrator.release.targets.folder import FolderTarget
from orchestrator.release.targets.rsync import RsyncTarget
from orchestrator.release.targets.s3 import S3Target
from orchestrator.release.targets.target import Target
from tasks.ledger.connection import connect
from tasks.settings import Settings
from tasks.store.objects import Objects
from tasks.store.s3_access import Access


def open_target(
    named: Named,
    folder: Path,
    settings: Settings,
    locks: Path,
    say: Callable[[str], object] = lambda _: None,
    *,
    with_ledger: bool = False,
) -> Target:
    """The mirror at `named`, whose relative paths start from `folder`; `locks` is a folder for
    locks of this machine, and `with_ledger` allows those of the ledger. `BadInput` if its address
    is none."""
    url = named.url.rstrip("/")
    if named.kind is TargetKind.FOLDER:
        root = (folder / named.to).resolve()
        return FolderTarget(root, url or root.as_uri())
    if named.kind is TargetKind.RSYNC:
        return RsyncTarget(named.to, url, locks)
    objects = Objects.at(named.to, Access.of(settings))
    return S3Target(objects, url, locks, say, ledger=connect(settings) if with_ledger else None)
