"""The place of a build in its queue, and the arithmetic that gave it, in words."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.display.printable import plain
from orchestrator.display.times import long_duration, moment
from tasks.ledger.order import FAR_S, Order
from tasks.ledger.queues import Queued


def arithmetic(queued: Queued, now: float) -> Iterator[str]:
    """Why the build has its place: its contract, its turn and its patience, and the rank that they
    give it."""
    yield f"It is number {queued.place} of {queued.count} there{_behind(queued)}."
    if not queued.rank:
        return
    order = queued.order
    if order.max_age_s:
        yield from _contract(order, now)
    yield f"Its turn{_of_flow(order)}: {moment(queued.turn)}{_patience(order)}."
    yield f"So it should start by {moment(queued.rank)}: the first in that order is taken."


def _behind(queued: Queued) -> str:
    return f", behind about {long_duration(queued.before_s)} of work" if queued.place > 1 else ""


def _contract(order: Order, now: float) -> Iterator[str]:
    if not order.published_at:
        yield (
            f"Its contract: max_age {long_duration(order.max_age_s)}, and nothing is published: "
            "it is late from the beginning."
        )
        return
    yield (
        f"Its contract: published {moment(order.published_at)} + max_age "
        f"{long_duration(order.max_age_s)} - expected rest {long_duration(order.rest_s)} = "
        f"latest start {moment(order.latest)}."
    )
    slack_s = order.slack_s(now)
    yield f"Its slack: {long_duration(slack_s)}{', the contract will be broken' * (slack_s < 0)}."


def _of_flow(order: Order) -> str:
    return f" among those of {plain(order.flow)}" if order.flow else ""


def _patience(order: Order) -> str:
    if order.patience_s >= FAR_S:
        return ""
    if not order.patience_s:
        return ", to be taken at once"
    return f", and {long_duration(order.patience_s)} of patience for its priority"
