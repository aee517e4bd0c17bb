"""Filling the root filesystem from a source, one module a type."""

from __future__ import annotations

from pathlib import Path

from tasks import archive
from tasks.errors import SourceFailed
from tasks.model import Source, SourceType
from tasks.report import Report


def fill(source: Source, rootfs: Path, *, folder: Path, report: Report) -> None:
    """Bring what `source` names and unpack it into `rootfs`; `SourceFailed` where that fails."""
    if source.type is not SourceType.FILE:
        raise SourceFailed(f"source type {source.type} is not supported")
    archive.extract(folder / (source.path or source.target), rootfs, report=report)
