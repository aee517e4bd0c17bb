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
    """The stream of every change of what a record says, without progress within a step."""

    connection: Connection

    def since(self, position: str = "") -> Changes:
        """The changes after `position`; without one, only the position of the newest change. They
        are unknown if the entry at `position` is gone: the stream was cut since, or Redis was set
        back to a time before it."""
        key = self.connection.key("events")
        pipeline = self.connection.client.pipeline(transaction=False)
        pipeline.time()
        pipeline.xrevrange(key, count=1)
        if position:
            pipeline.xrange(key, position, count=READ_MAX + 1)
        (seconds, micros), newest, *found = self.connection.run(pipeline)
        now, last = seconds + micros / 1e6, newest[0][0] if newest else START
        if position == START and not newest:
            return Changes(frozenset(), START, now)
        entries = found[0] if found else []
        if not entries or entries[0][0] != position or len(entries) == READ_MAX + 1:
            return Changes(None, last, now)
        return Changes(
            frozenset(fields.get("build", "") for _, fields in entries[1:]), entries[-1][0], now
        )
