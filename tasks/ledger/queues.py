"""The queues of a farm as anybody reads them: who waits in which order, what succeeded there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tasks.errors import StagefarmError
from tasks.ledger.connection import Connection
from tasks.ledger.order import UNKNOWN_S, Order, Success
from tasks.model import decode

WAITING_MAX = 10_000
"""So many builds of a queue are read."""

OLD = Order(flow="", cost_s=UNKNOWN_S)
"""That of a build which was submitted before there were orders."""

Variant = tuple[str, str, str]
"""Queue, job, and options of the matrix: builds that make the same take about as long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """A build that waits: its place in its queue, from 1, of how many, how long those before it
    keep the queue busy, and what its rank is made of, 0 if an older version submitted it."""

    build: str
    place: int
    count: int
    before_s: float
    order: Order
    turn: float = 0.0
    rank: float = 0.0


@dataclass(frozen=True, slots=True)
class Queues:
    connection: Connection

    def waiting(self, queue: str) -> list[Queued]:
        """The builds that wait in `queue`, in the order in which they are taken."""
        with self.connection.reaching() as client:
            key = self.connection.key("waiting", queue, "order")
            builds = client.zrange(key, 0, WAITING_MAX - 1)
        pipeline = self.connection.client.pipeline(transaction=False)
        for build in builds:
            pipeline.hmget(self.connection.key("build", build), "order", "turn", "rank")
        return list(_in_line(builds, self.connection.run(pipeline)))

    def find(self, build: str, queue: str) -> Queued | None:
        """The build in its queue; None if it does not wait there."""
        return next((one for one in self.waiting(queue) if one.build == build), None)

    def successes(self, variants: Sequence[Variant]) -> list[tuple[Success, ...]]:
        """Of each variant the newest that succeeded, newest first."""
        pipeline = self.connection.client.pipeline(transaction=False)
        for variant in variants:
            pipeline.lrange(self.connection.key("successes", *variant), 0, -1)
        return [tuple(map(_success, texts)) for texts in self.connection.run(pipeline)]


def _in_line(builds: Sequence[str], values: Sequence[Sequence[str | None]]) -> Iterator[Queued]:
    before_s = 0.0
    for place, (build, (order, turn, rank)) in enumerate(zip(builds, values, strict=True), 1):
        known = _order(order)
        yield Queued(
            build=build,
            place=place,
            count=len(builds),
            before_s=before_s,
            order=known,
            turn=float(turn or 0),
            rank=float(rank or 0),
        )
        before_s += known.cost_s


def _order(text: str | None) -> Order:
    try:
        return decode(text, Order) if text else OLD
    except StagefarmError:
        return OLD


def _success(text: str) -> Success:
    ended, _, took_s = text.partition(" ")
    return Success(float(ended), float(took_s))
