"""The identity of this worker: its host's name, its own state folder, and its incarnation.

An incarnation begins when a worker starts and ends with its main process. It is set before the
pool's processes are forked, so that they share it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import uuid4

from tasks.errors import HostUnfit, StagefarmError
from tasks.host.files import replaced
from tasks.host.locks import try_lock
from tasks.host.temporary import use_temporary
from tasks.ledger.answers import Holder
from tasks.ledger.builds import Ledger
from tasks.ledger.hosts import Hosts
from tasks.settings import Settings

LOCK_LIMIT_S = 2.0
"""The pool of a worker that was killed exits a moment after it, and holds its lock until then."""


@dataclass(frozen=True, slots=True)
class Incarnation:
    """This worker as the holder of claims, and the queues it serves."""

    holder: Holder
    queues: tuple[str, ...]


_incarnations: list[Incarnation] = []


def begin_incarnation(host: str, queues: tuple[str, ...]) -> Holder:
    _incarnations[:] = [Incarnation(Holder(host, uuid4().hex), queues)]
    return _incarnations[0].holder


def current_incarnation() -> Incarnation:
    if not _incarnations:
        raise StagefarmError("this process is not a worker", "start one with `stagefarm worker`")
    return _incarnations[0]


@contextmanager
def exclusive_state(settings: Settings) -> Iterator[None]:
    """Lock this machine's state folder; `HostUnfit` if another worker uses it. Processes forked
    from this one hold the lock with it, and share its temporary folder there."""
    settings.state.mkdir(parents=True, exist_ok=True)
    with try_lock(settings.state / "worker.lock", limit_s=LOCK_LIMIT_S) as held:
        if not held:
            raise HostUnfit(
                f"another worker uses {settings.state}",
                "give each worker its own STAGEFARM_STATE_DIR, or one worker more --slots",
            )
        use_temporary(settings.state / "tmp")
        yield


def require_own_name(name: str, settings: Settings, ledger: Ledger) -> None:
    """`HostUnfit` if another running worker has that name. One that ran in the same state folder
    has exited: that folder is locked."""
    now, known = ledger.now(), {host.name: host for host in Hosts(ledger.connection).all()}
    other = known.get(name)
    if not other or not other.alive(now, settings.lease_s):
        return
    if other.state not in ("", state_id(settings)):
        raise HostUnfit(
            f"another worker is called {name}, seen {max(0.0, now - other.seen):.0f} s ago",
            "give each worker its own --name; if that worker has exited, try again in "
            f"{settings.lease_s:.0f} s",
        )


def state_id(settings: Settings) -> str:
    """The unique id of this machine's state folder."""
    file = settings.state / "id"
    if not file.exists():
        with replaced(file) as fresh:
            fresh.write(uuid4().hex.encode())
    return file.read_text()
