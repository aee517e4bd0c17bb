"""The `file` source: a tarball that lies on this machine."""

from __future__ import annotations

from pathlib import Path

from tasks.errors import SourceFailed
from tasks.model import Source
from tasks.sources import verify
from tasks.sources.destination import Destination


def fetch(source: Source, destination: Destination) -> Path:
    """The tarball at `source.path` (or `source.target`), once it is what the source says; nothing
    is copied."""
    tarball = destination.folder / (source.path or source.target)
    if not tarball.is_file():
        raise SourceFailed(
            f"{tarball}: no such tarball on this machine",
            "source.path names a file on the machine that builds",
        )
    wanted = verify.expected(source)
    verify.sums(tarball, wanted, name=str(tarball))
    destination.learned.came_from(tarball.as_uri())
    destination.learned.is_known_by(*wanted)
    return tarball
