"""Changes since the last read, so that a client need not read every build."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.ledger.connection import Connection

START = "0-0"
READ_MAX = 5_000
"""A client with more changes to catch up with reads all builds instead."""


@dataclass(frozen=True, slots=True)
class Changes:
    """The builds that changed, None if that is unknown; `position` is where to continue, and `now`
    is Redis's time."""

    builds: frozenset[str] | None
    position: str
    now: float


@dataclass(frozen=True, slots=True)
class Events:
    """The stream of every change of a build's state or step, without progress within a step."""

    connection: Connection

    def since(self, position: str = "") -> Changes:
        """The changes after `position`; without one, only the position of the newest change."""
        key = self.connection.key("events")
        pipeline = self.connection.client.pipeline(transaction=False)
        pipeline.time()
        pipeline.xrange(key, count=1)
        pipeline.xrevrange(key, count=1)
        if position:
            pipeline.xrange(key, f"({position}", count=READ_MAX)
        (seconds, micros), oldest, newest, *found = self.connection.run(pipeline)
        now, last = seconds + micros / 1e6, newest[0][0] if newest else START
        trimmed = bool(oldest) and _place(oldest[0][0]) > _place(position or START)
        if not found or trimmed or len(found[0]) == READ_MAX:
            return Changes(None, last, now)
        entries = found[0]
        builds = frozenset(fields["build"] for _, fields in entries)
        return Changes(builds, entries[-1][0] if entries else position, now)


def _place(id_: str) -> tuple[int, ...]:
    """The id of an entry as a sort key."""
    return tuple(int(part) for part in id_.split("-"))
