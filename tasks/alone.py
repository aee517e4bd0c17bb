"""One worker for one state folder: it wipes what it finds there of an earlier life."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import sleep

from tasks.errors import HostUnfit
from tasks.settings import Settings

TRIES, PAUSE_S = 20, 0.1


@contextmanager
def require_alone(settings: Settings) -> Iterator[None]:
    """Keep other workers off this machine's state folder; `HostUnfit` if one has it. The kernel
    ends the lock with the process, and processes forked from this one hold it with it."""
    settings.state.mkdir(parents=True, exist_ok=True)
    file = settings.state / "worker.lock"
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not _locked(descriptor):
            raise HostUnfit(
                f"another worker uses {settings.state}",
                "give each worker its own STAGEFARM_STATE_DIR, or the one more --slots",
            )
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    """Whether the lock could be had. The processes of a worker that was killed die a moment after
    it, so a lock that is held is asked for more than once."""
    for _ in range(TRIES):
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        sleep(PAUSE_S)
    return False
