"""Waiting for a condition, with a limit, instead of sleeping."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

LIMIT_S = 20.0
PAUSE_S = 0.02


def eventually(condition: Callable[[], object], limit_s: float = LIMIT_S) -> bool:
    """Whether `condition` becomes true within `limit_s`."""
    pause = threading.Event()
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            return False
        pause.wait(PAUSE_S)
    return True
