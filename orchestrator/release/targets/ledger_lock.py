"""Keeps publishers apart by the farm's Redis, where a mirror cannot do it itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tasks.errors import FarmUnreachable
from tasks.ledger.locks import PublishingLock


@contextmanager
def renewed(lock: PublishingLock) -> Iterator[None]:
    """Renew a lock that is held while the body runs, and let go of it afterwards. Who relies on it
    asks once more by `hold`: it ends if Redis was away for too long."""
    stop = threading.Event()

    def renew() -> None:
        while not stop.wait(lock.lease_s / 3):
            with suppress(FarmUnreachable):  # the next try may reach it
                if not lock.hold():
                    return

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        with suppress(FarmUnreachable):  # then it ends by itself
            lock.let_go()
