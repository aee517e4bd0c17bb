"""Who has which message: each target gets all of them, in their order, each once. Pure but for what
sends.

A target that does not answer is tried again, after a pause that doubles. What has piled up
meanwhile is one message.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache

from orchestrator.notify.texts import Message, Writer

PAUSE_S, PAUSE_MAX_S = 30.0, 3600.0
BACKLOG, BACKLOG_S = 5, 600.0
"""More messages than these, of which one has waited for so long, are sent as one."""
GIVE_UP_S = 3 * 24 * 3600.0
"""A message that a target did not take for so long is given up there."""

Send = Callable[[str, str], bool]
"""Sends title and text; False if that failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """How the delivery to a target stands: the number of the last message that it has; how often it
    has failed since, and when it is tried again; how many messages were given up."""

    name: str
    sent: int = 0
    fails: int = 0
    again: float = 0.0
    lost: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What is sent next, and the number of the last message that it is about."""

    message: Message
    sent: int


def next_delivery(
    target: Target, outbox: Mapping[int, Message], writer: Writer, now: float
) -> Delivery | None:
    """What is to be sent to the target now, None if it has everything, or is to be left alone."""
    numbers = sorted(number for number in outbox if number > target.sent)
    if not numbers or now < target.again:
        return None
    if len(numbers) > BACKLOG and now - outbox[numbers[0]].at > BACKLOG_S:
        return Delivery(
            message=writer.late([outbox[number] for number in numbers], now), sent=numbers[-1]
        )
    return Delivery(message=outbox[numbers[0]], sent=numbers[0])


def after_sending(target: Target, delivery: Delivery, *, is_sent: bool, now: float) -> Target:
    if is_sent:
        return replace(target, sent=delivery.sent, fails=0, again=0.0)
    if now - delivery.message.at > GIVE_UP_S:
        return replace(target, sent=delivery.sent, fails=0, again=0.0, lost=target.lost + 1)
    pause = min(PAUSE_S * 2 ** min(target.fails, 20), PAUSE_MAX_S)
    return replace(target, fails=target.fails + 1, again=now + pause)


@cache
def mark_of(url: str) -> str:
    """The mark by which a target is known in the ledger. A slow digest, as the URL has a secret in
    it that might be guessed."""
    return hashlib.scrypt(url.encode(), salt=b"stagefarm notify", n=2**14, r=8, p=1, dklen=12).hex()
