"""What was learned of tarballs: the digests of files, and of what addresses gave.

Only a cache: missing or damaged entries are determined again.
"""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

from tasks.errors import StagefarmError
from tasks.model import decode, encode
from tasks.sources import verify

NOTES_MAX = 1_000
UNFINISHED_S = 3600.0
"""A note takes no time to write: one unfinished for so long was left by a killed process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a file was fetched, and by which marks its server would know it again."""

    uri: str
    etag: str = ""
    last_modified: str = ""

    @property
    def validator(self) -> str:
        """What If-Range can take: a strong ETag, or else the date."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.last_modified


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """One fact: `digest` is the sha256 of the tarball that came from `origin`; `at` is when that
    was learned, in seconds since 1970, and `verified` by what it was known (`SeedOrigin`)."""

    digest: str
    origin: Origin
    at: float = 0.0
    verified: tuple[str, ...] = ()


class DigestCache:
    """Facts, each a small file in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def digest(self, file: Path) -> str:
        """The sha256 of `file`, read only if it changed since it was last asked for."""
        entry = file.stat()
        marks = (file.absolute(), entry.st_dev, entry.st_ino, entry.st_size)
        note = self._note(*marks, entry.st_mtime_ns, entry.st_ctime_ns)
        with suppress(OSError, ValueError):
            if len(found := _used(note).read_text()) == hashlib.sha256().digest_size * 2:
                return found
        found = verify.digest(file)
        self._write(note, found.encode())
        return found

    def recall(self, *question: object) -> Known | None:
        """What was remembered as the answer to `question`."""
        try:
            return decode(_used(self._note(*question)).read_bytes(), Known)
        except (OSError, StagefarmError):
            return None

    def remember(self, known: Known, *question: object) -> None:
        self._write(self._note(*question), encode(known))

    def _note(self, *question: object) -> Path:
        return self._folder / hashlib.sha256(repr(question).encode()).hexdigest()[:32]

    def _write(self, note: Path, content: bytes) -> None:
        note.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        unfinished = note.with_suffix(f".{token_hex(4)}.partial")  # two steps may learn it at once
        unfinished.write_bytes(content)
        unfinished.rename(note)
        self._prune()

    def _prune(self) -> None:
        """Keep the facts that were asked for last, and nothing that a killed process left."""
        now = time.time()
        notes = sorted(((_used_at(note), note) for note in self._folder.iterdir()), reverse=True)
        for number, (used_at, note) in enumerate(notes):
            is_left = note.suffix == ".partial" and now - used_at > UNFINISHED_S
            if is_left or number >= NOTES_MAX:
                note.unlink(missing_ok=True)


def _used(note: Path) -> Path:
    os.utime(note)
    return note


def _used_at(note: Path) -> float:
    with suppress(FileNotFoundError):  # another process prunes too
        return note.stat().st_mtime
    return 0.0
