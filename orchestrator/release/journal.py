"""The journal of a mirror: what its publisher writes and may remove, noted before it is done.

It is on the mirror, one file for each channel, so that a publisher on any machine can finish what
another one began. It is a note, not a promise: nothing outside of the mirror follows from it.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace

import msgspec

from orchestrator.release.targets.target import PRIVATE, is_inside
from tasks.model import encode

JOURNAL_MAX_BYTES = 256 * 1024 * 1024


Named = Mapping[str, str]
"""Paths, relative to the root of the mirror, and of each a mark of its content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """Generation `version` names `named`, the one before it `previous`; no generation has named
    those in `garbage` since these times."""

    version: int = 0
    named: Named = field(default_factory=dict)
    previous: Named = field(default_factory=dict)
    garbage: Mapping[str, float] = field(default_factory=dict)

    def settled(self, version: int, named: Named, at: float, now: float) -> Journal:
        """The journal of a mirror whose pointer is at generation `version`, made at the time `at`,
        which names at least `named`: if it has not moved to the journal's, that one was given up
        and its files are garbage from `now` on."""
        moved = version == self.version
        known = self.named if moved else self._given_up()
        current = {**named, **known}
        gone = (self.named.keys() | self.previous.keys()) - current.keys()
        return Journal(
            version=version,
            named=current,
            garbage=_without(
                {**dict.fromkeys(gone, at if moved else now), **self.garbage}, current
            ),
        )

    def _given_up(self) -> Named:
        """What the generation before names, without the marks of what may have been replaced."""
        return {
            path: mark if self.named.get(path, mark) == mark else ""
            for path, mark in self.previous.items()
        }

    def begun(self, version: int, named: Named) -> Journal:
        """The journal of who is about to write generation `version`."""
        garbage = _without(self.garbage, named)
        return Journal(version=version, named=named, previous=self.named, garbage=garbage)

    def has(self, path: str, mark: str) -> bool:
        """Whether the generation before has written the same to `path`."""
        return self.previous.get(path) == mark

    def due(self, before: float) -> list[str]:
        """The garbage since before the time `before`."""
        return sorted(path for path, since in self.garbage.items() if since <= before)

    def without(self, paths: Iterable[str]) -> Journal:
        return replace(self, garbage=_without(self.garbage, frozenset(paths)))

    @property
    def mentioned(self) -> frozenset[str]:
        """All paths that the channel still takes care of."""
        return frozenset((*self.named, *self.previous, *self.garbage))

    @property
    def content(self) -> bytes:
        return encode(self)


def _without(garbage: Mapping[str, float], paths: Container[str]) -> Mapping[str, float]:
    return {path: since for path, since in garbage.items() if path not in paths}


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
