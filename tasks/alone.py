"""One worker for one state folder, whose content it wipes as it starts, and one for one name, whose
builds it gives up: either must be its own."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import sleep
from uuid import uuid4

from tasks.errors import HostUnfit
from tasks.files import replaced
from tasks.hosts import Hosts
from tasks.ledger import Ledger
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


def require_own_name(name: str, settings: Settings, ledger: Ledger) -> None:
    """`HostUnfit` if another worker lives by that name. One that was here before, in the same state
    folder, does not live any more."""
    now, known = ledger.now(), {host.name: host for host in Hosts(ledger.connection).all()}
    other = known.get(name)
    if not other or not other.alive(now, settings.lease_s):
        return
    if other.state not in ("", state_id(settings)):
        raise HostUnfit(
            f"another worker is called {name}, seen {max(0.0, now - other.seen):.0f} s ago",
            "give each worker a --name of its own; if that one is gone for good, try again in "
            f"{settings.lease_s:.0f} s",
        )


def state_id(settings: Settings) -> str:
    """What tells this machine's state folder from all others."""
    file = settings.state / "id"
    if not file.exists():
        with replaced(file) as fresh:
            fresh.write(uuid4().hex.encode())
    return file.read_text()


def _locked(descriptor: int) -> bool:
    """Whether the lock could be had. The processes of a worker that was killed die a moment after
    it, so a lock that is held is asked for more than once."""
    for _ in range(TRIES):
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        sleep(PAUSE_S)
    return False
