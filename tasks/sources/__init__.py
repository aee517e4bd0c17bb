"""What a root filesystem starts from: one module a source type, and the choice between them."""

from __future__ import annotations

from pathlib import Path

from tasks import archive
from tasks.model import Source, SourceType
from tasks.report import Report
from tasks.sources import anise, local


def fetch(source: Source, *, folder: Path, report: Report) -> Path | None:
    """Bring the source's tarball to this machine, verified; None for a source that has none.

    `folder` is where the build was started. `SourceFailed` where it cannot be had.
    """
    match source.type:
        case SourceType.HTTP:
            from tasks.sources import http  # httpx takes a while to import

            return http.fetch(source, folder=folder, report=report)
        case SourceType.FILE:
            return local.fetch(source, folder=folder)
        case SourceType.ANISE:
            return None


def fill(source: Source, rootfs: Path, *, folder: Path, report: Report) -> None:
    """Make the folder `rootfs` the root filesystem that `source` says; `SourceFailed` if it cannot
    be."""
    if tarball := fetch(source, folder=folder, report=report):
        archive.extract(tarball, rootfs, report=report)
    else:
        anise.install(source, rootfs, folder=folder, report=report)
