"""The journal of a mirror: what its publisher writes and may remove, noted before it is done.

It is on the mirror, one file for each channel, so that a publisher on any machine can finish what
another one began. It is a note, not a promise: nothing outside of the mirror follows from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from orchestrator.release.targets.target import PRIVATE, is_inside
from tasks.model import encode

JOURNAL_MAX_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """Paths are relative to the root of the mirror. Generation `version` names `named`, the one
    before it `previous`; no generation has named those in `garbage` since these times."""

    version: int = 0
    named: frozenset[str] = frozenset()
    previous: frozenset[str] = frozenset()
    garbage: Mapping[str, float] = field(default_factory=dict)

    def settled(self, version: int, named: Iterable[str], at: float, now: float) -> Journal:
        """The journal of a mirror whose pointer is at generation `version`, made at the time `at`,
        which names at least `named`: if it has not moved to the journal's, that one was given up
        and its files are garbage from `now` on."""
        moved = version == self.version
        current = frozenset(named) | (self.named if moved else self.previous)
        since = at if moved else now
        left = dict.fromkeys((self.named | self.previous) - current, since)
        garbage = {**left, **self.garbage}
        return Journal(
            version=version,
            named=current,
            garbage={path: time for path, time in garbage.items() if path not in current},
        )

    def begun(self, version: int, named: Iterable[str]) -> Journal:
        """The journal of who is about to write generation `version`."""
        fresh = frozenset(named)
        garbage = {path: since for path, since in self.garbage.items() if path not in fresh}
        return Journal(version=version, named=fresh, previous=self.named, garbage=garbage)

    def due(self, before: float) -> list[str]:
        """The garbage since before the time `before`."""
        return sorted(path for path, since in self.garbage.items() if since <= before)

    def without(self, paths: Iterable[str]) -> Journal:
        gone = frozenset(paths)
        garbage = {path: since for path, since in self.garbage.items() if path not in gone}
        return Journal(
            version=self.version, named=self.named, previous=self.previous, garbage=garbage
        )

    @property
    def mentioned(self) -> frozenset[str]:
        """All paths that the channel still takes care of."""
        return self.named | self.previous | frozenset(self.garbage)

    @property
    def content(self) -> bytes:
        return encode(
            {
                "version": self.version,
                "named": sorted(self.named),
                "previous": sorted(self.previous),
                "garbage": dict(sorted(self.garbage.items())),
            }
        )


def journal_path(channel: str) -> str:
    return f"{PRIVATE}/{channel}.json"


def read_journal(content: bytes | None) -> Journal:
    """The journal; an empty one if there is none, or it cannot be read. Others may be able to write
    to a mirror: paths that lead out of it are left out."""
    try:
        found = msgspec.json.decode(content or b"{}", type=Journal)
    except msgspec.MsgspecError:
        return Journal()
    return found.without(path for path in found.garbage if not is_inside(path))
