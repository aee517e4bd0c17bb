"""Builds that have been queued for long, whose messages may be lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.ledger.connection import Connection


@dataclass(frozen=True, slots=True)
class Late:
    """A queued build whose message was sent, or last seen, long ago."""

    queue: str
    build: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """The queued builds of one farm, by when their message was last sent or seen."""

    connection: Connection

    def late(self, wait_s: float, limit: int) -> tuple[float, list[Late]]:
        """Redis's time, and of each queue at most `limit` builds whose message was last sent or
        seen more than `wait_s` ago, the oldest first."""
        now, *found = self.connection.script("late", wait_s, limit)
        return float(now), [Late(queue, build, int(attempt)) for queue, build, attempt in found]

    def mark_seen(self, seen: Sequence[Late], now: float) -> None:
        """Record that the messages of these builds were in their queues at `now`."""
        pipeline = self.connection.client.pipeline(transaction=False)
        for queue in {one.queue for one in seen}:
            times = {one.build: now for one in seen if one.queue == queue}
            pipeline.zadd(self.connection.key("waiting", queue), times, xx=True)
        self.connection.run(pipeline)

    def mark_resent(self, lost: Sequence[Late]) -> list[Late]:
        """The messages of these builds will be sent again; returns those that are still queued."""
        pipeline = self.connection.client.pipeline(transaction=False)
        for one in lost:
            self.connection.script("mark_resent", one.build, one.attempt, through=pipeline)
        answers = self.connection.run(pipeline)
        return [one for one, answer in zip(lost, answers, strict=True) if answer == "ok"]
