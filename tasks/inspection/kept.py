"""Keeps the package databases of a tarball in a folder, where they are read afterwards."""

from __future__ import annotations

import errno
from pathlib import Path, PurePosixPath
from typing import IO

from tasks.archive.members import FILE, FOLDER, Member
from tasks.artifacts.packages import DATABASES, is_read

FILE_MAX_BYTES = 256 << 20
"""A larger file of a package database is not read."""

TOTAL_MAX_BYTES = 1 << 30
COUNT_MAX = 200_000
_BEGINNINGS = tuple(f"/{place}" for place in DATABASES)
_CONFLICTS = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)
"""What comes of names that no file system takes together; a real database has none such."""


class Databases:
    """The files of package databases below `root`, an empty folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._bytes_left = TOTAL_MAX_BYTES
        self._count_left = COUNT_MAX

    def wants(self, path: str, member: Member) -> bool:
        """Whether the file belongs to a database, and fits; then its room is taken."""
        if not path.startswith(_BEGINNINGS) or not _is_database(path, member):
            return False
        if member.size > min(FILE_MAX_BYTES, self._bytes_left) or not self._count_left:
            return False
        self._bytes_left -= member.size
        self._count_left -= 1
        return True

    def keep(self, path: str, member: Member) -> IO[bytes] | None:
        """A file to write the content to; None for a folder, which is made."""
        place = self.root / path.lstrip("/")
        folder = place if member.kind == FOLDER else place.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return place.open("wb") if member.kind == FILE else None
        except OSError as error:
            if error.errno not in _CONFLICTS:
                raise
            return None


def _is_database(path: str, member: Member) -> bool:
    inside = PurePosixPath(path.lstrip("/"))
    if ".." in inside.parts or not any(inside.is_relative_to(place) for place in DATABASES):
        return False
    return member.kind == FOLDER or (member.kind == FILE and is_read(inside))
