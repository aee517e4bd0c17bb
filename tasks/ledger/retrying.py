"""A ledger that is asked again for as long as Redis does not answer.

What a host has to tell the ledger is told, however long that takes. Every change in the ledger
gives the same answer when it is asked for twice, so asking again does no harm.
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

from tenacity import Retrying, retry_if_exception_type, wait_exponential

from tasks.errors import FarmUnreachable

T = TypeVar("T")

PAUSE_MIN_S, PAUSE_MAX_S = 0.1, 5.0


def patient(ledger: T) -> T:
    """`ledger`, or another object that asks Redis, whose every method waits while Redis is away
    instead of raising `FarmUnreachable`."""
    return cast("T", _Patient(ledger))


class _Patient:
    def __init__(self, ledger: object) -> None:
        self._ledger = ledger

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._ledger, name)
        return _retrying().wraps(value) if callable(value) else value


def _retrying() -> Retrying:
    return Retrying(
        retry=retry_if_exception_type(FarmUnreachable),
        wait=wait_exponential(multiplier=PAUSE_MIN_S, max=PAUSE_MAX_S),
    )
