"""Waiting for Redis: what a host has to tell the ledger is told, however long it takes."""

from __future__ import annotations

from collections.abc import Callable
from time import sleep
from typing import TypeVar

from tasks.errors import FarmUnreachable

T = TypeVar("T")
PAUSE_MAX_S = 5.0


def patiently(ask: Callable[[], T]) -> T:
    """What `ask` gives, asked again for as long as Redis does not answer."""
    pause_s = 0.1
    while True:
        try:
            return ask()
        except FarmUnreachable:
            sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_MAX_S)
