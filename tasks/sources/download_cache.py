"""The cache of downloads: tarballs from addresses, for builds that can make no seed of them.

    downloads/
        KEY/NAME              the last tarball that the address gave; it is whole and verified
        KEY/.NAME.origin      where it came from
        KEY/.NAME.partial     what there is of one that is being fetched, or was cut off
        .KEY.lock             held by the build that uses KEY (`locks.exclusive`)

`sources.http` fills it. KEY says what was asked for: the address, and how it was to be verified.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tasks.host.locks import is_exclusive, try_exclusive
from tasks.host.removal import remove_tree


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """What is kept of one address; `used_at` in seconds since 1970."""

    key: str
    name: str
    size_bytes: int
    used_at: float


@dataclass(frozen=True, slots=True)
class Downloads:
    """The cache of downloads of this machine, in the folder `root`."""

    root: Path

    def all(self) -> list[Download]:
        """All downloads, the one used last first."""
        found = []
        for folder in self.root.glob("[!.]*"):
            with suppress(OSError):  # it was removed meanwhile
                found.append(_read(folder))
        return sorted(found, key=lambda download: download.used_at, reverse=True)

    def is_used(self, key: str) -> bool:
        """Whether a build fetches it or unpacks it."""
        return is_exclusive(self.root / key)

    def sweep(self) -> None:
        """Remove the locks of builds that were killed."""
        for path in self.root.glob(".*.lock"):
            with try_exclusive(self.root / path.stem.removeprefix(".")):
                pass

    def remove(self, key: str) -> bool:
        """Remove a download unless it is in use; returns whether it was removed."""
        with try_exclusive(self.root / key) as free:
            if free:
                remove_tree(self.root / key)
            return free


def _read(folder: Path) -> Download:
    """The lock of the tarball comes and goes in `folder` with each use, which sets its time."""
    files = {path.name: path.stat().st_blocks * 512 for path in folder.iterdir()}
    names = sorted(files, key=lambda name: (name.startswith("."), name))
    return Download(
        key=folder.name,
        name=names[0].strip(".").removesuffix(".partial") if names else folder.name,
        size_bytes=sum(files.values()),
        used_at=folder.stat().st_mtime,
    )
