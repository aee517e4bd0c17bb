"""What the page of one build shows beside its record, and its log: from the ledger and the store.

Nothing but the store is read for a log, whatever path the ledger names.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import unquote

from orchestrator.report.model import possible_time
from tasks.artifacts import gate_tests
from tasks.artifacts.gate_tests import GateTest
from tasks.errors import HostUnfit, StagefarmError
from tasks.ledger.bulk import History
from tasks.ledger.connection import Connection
from tasks.ledger.logs import Logbook
from tasks.ledger.records import Record
from tasks.settings import Settings
from tasks.store.opening import stored_file
from tasks.store.store import StoredFile

LOG_MAX_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """The lines of a log. `is_whole`: they are counted as those of `build.log` are, as in causes;
    else they are only the newest."""

    lines: tuple[str, ...] = ()
    is_whole: bool = False


def possible_times(history: History) -> list[tuple[float, float]]:
    """When each step began and ended, 0 where it did not."""
    return [(possible_time(began), possible_time(ended)) for began, ended in history.times]


def tests_of(record: Record, settings: Settings) -> tuple[GateTest, ...]:
    """The tests beside the first tarball, as the store has them; empty if it does not."""
    with suppress(StagefarmError, OSError):
        for artifact in record.artifacts:
            tarball = _in_store(artifact.path, settings)
            return gate_tests.read(tarball.sibling(f"{tarball.name}.{gate_tests.ENDING}"))
    return ()


def log_of(record: Record, connection: Connection, settings: Settings) -> Log:
    """The whole log from the store; where that has none, the newest lines from Redis."""
    with suppress(StagefarmError, OSError):
        if record.url:
            content = _in_store(f"{record.url}/build.log", settings).read(LOG_MAX_BYTES)
            lines = content.decode("utf-8", "surrogateescape").split("\n")
            return Log(lines=tuple(lines[: -1 if not lines[-1] else None]), is_whole=True)
    book, last, found = Logbook(connection), "-", list[str]()
    while entries := book.read(record.id, last):
        last = entries[-1].id
        found += [f"[{e.line.hook}] {e.line.text}" if e.line.hook else e.line.text for e in entries]
    return Log(lines=tuple(found))


def _in_store(url: str, settings: Settings) -> StoredFile:
    """The file at `url`; `HostUnfit` if that is not below the store: whoever writes to Redis must
    not choose which files of this machine are shown to the public."""
    steps = unquote(url).split("/")
    if not url.startswith(f"{settings.store.rstrip('/')}/") or ".." in steps:
        raise HostUnfit(f"{url} is not in the store of this machine, {settings.store}")
    return stored_file(url, settings)
