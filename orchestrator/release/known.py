"""What this machine has seen of releases: the newest pointer of each, and the key that signed it.

So a mirror that is replayed, or put back from a backup, is noticed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.release.verify import Seen
from tasks.errors import StagefarmError, of_system
from tasks.host.files import replaced, write_all
from tasks.model import decode, encode
from tasks.settings import Settings

NEVER = Seen()


@dataclass(frozen=True, slots=True, kw_only=True)
class Acquaintance:
    """A channel that was seen at `where`, and the keys that were given for it."""

    where: str
    keys: tuple[str, ...] = ()
    seen: Seen = NEVER


@dataclass(frozen=True, slots=True)
class Known:
    """The channels that this machine knows, a file each in `folder`."""

    folder: Path

    @classmethod
    def of(cls, settings: Settings) -> Known:
        """For root the machine's own; for others one in their home."""
        return cls(settings.own_state / "releases")

    def recall(self, where: str) -> Acquaintance:
        try:
            return decode(self._file(where).read_bytes(), Acquaintance)
        except FileNotFoundError:
            return Acquaintance(where=where)
        except OSError as error:
            raise of_system(error) from error
        except StagefarmError as error:
            raise StagefarmError(f"{self._file(where)}: {error}", "remove it") from error

    def remember(self, where: str, seen: Seen, keys: tuple[str, ...] = ()) -> None:
        known = self.recall(where)
        newer = seen if seen.version >= known.seen.version else known.seen
        try:
            with replaced(self._file(where)) as file:
                fresh = replace(known, seen=newer, keys=keys or known.keys)
                write_all(file.fileno(), encode(fresh))
        except OSError as error:
            raise of_system(error) from error

    def forget(self, where: str) -> None:
        self._file(where).unlink(missing_ok=True)

    def _file(self, where: str) -> Path:
        return self.folder / f"{hashlib.sha256(where.encode()).hexdigest()[:32]}.json"
