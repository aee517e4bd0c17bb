"""A ledger whose calls are retried until Redis answers.

A host reports to the ledger however long that takes. Every change in the ledger is idempotent, so
it is safe to repeat a call.
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

from tenacity import Retrying, retry_if_exception_type, wait_exponential

from tasks.errors import FarmUnreachable

T = TypeVar("T")

PAUSE_MIN_S, PAUSE_MAX_S = 0.1, 5.0


def patient(ledger: T) -> T:
    """A proxy of `ledger`, or of another client of Redis, whose every method waits while Redis is
    unreachable instead of raising `FarmUnreachable`."""
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
