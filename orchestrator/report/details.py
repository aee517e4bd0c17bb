"""What the page of one build shows beside its record, and its log: from the ledger and the store.

Nothing but the store is read for a log, whatever path the ledger names.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
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

LOG_MAX_BYTES = 16 << 20
LOG_MAX_LINES = 100_000
"""Of a longer log the newest lines are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """The newest lines of a log, and the number of the first of them. `is_counted`: they have the
    numbers of lines in `build.log`, as causes have; else nobody knows how many came before."""

    lines: tuple[str, ...] = ()
    first: int = 1
    is_counted: bool = False

    @property
    def last(self) -> int:
        return self.first + len(self.lines) - 1


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
    """The log from the store; where that has none, the newest lines from Redis."""
    with suppress(StagefarmError, OSError):
        if record.url:
            return tail_of(_in_store(f"{record.url}/build.log", settings).pieces())
    book, last, found = Logbook(connection), "-", list[str]()
    while entries := book.read(record.id, last):
        last = entries[-1].id
        found += [f"[{e.line.hook}] {e.line.text}" if e.line.hook else e.line.text for e in entries]
    return Log(lines=tuple(found))


def tail_of(pieces: Iterable[bytes]) -> Log:
    """The newest lines of a log, however long it is and its lines are: at most LOG_MAX_BYTES, and
    LOG_MAX_LINES lines. A line that lacks its beginning is left out."""
    kept: deque[bytes] = deque()
    size_bytes = before = 0
    is_cut = False
    for piece in pieces:
        kept.append(piece)
        size_bytes += len(piece)
        while size_bytes - len(kept[0]) >= LOG_MAX_BYTES:
            before += kept[0].count(b"\n")
            size_bytes -= len(kept.popleft())
            is_cut = True
    content = b"".join(kept).removesuffix(b"\n")
    rest, *lines = content.rsplit(b"\n", LOG_MAX_LINES)
    if is_cut or len(lines) == LOG_MAX_LINES:
        before += rest.count(b"\n") + 1
    elif content:
        lines = [rest, *lines]
    return Log(
        lines=tuple(line.decode("utf-8", "surrogateescape") for line in lines),
        first=before + 1,
        is_counted=True,
    )


def _in_store(url: str, settings: Settings) -> StoredFile:
    """The file at `url`; `HostUnfit` if that is not below the store: whoever writes to Redis must
    not choose which files of this machine are shown to the public."""
    steps = unquote(url).split("/")
    if not url.startswith(f"{settings.store.rstrip('/')}/") or ".." in steps:
        raise HostUnfit(f"{url} is not in the store of this machine, {settings.store}")
    return stored_file(url, settings)
