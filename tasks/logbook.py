"""Logs of builds: the newest lines of each in Redis for people who watch, all of them in a file."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import strftime
from types import TracebackType
from typing import Self

from tasks.connection import Connection
from tasks.errors import FarmUnreachable
from tasks.model import Line, Progress, Stream, encode

FLUSH_S = 0.5
HELD_LINES = 2_000


@dataclass(frozen=True, slots=True)
class Page:
    """Where a line belongs: one step of one attempt of a build."""

    build: str
    attempt: int
    step: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One line as it stands in Redis, and its id there."""

    id: str
    attempt: int
    step: int
    line: Line


class Logbook:
    """The logs of one farm in Redis: a stream per build, cut at its old end."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def write(self, page: Page, lines: list[Line], limit: int) -> None:
        """Add `lines`, keeping about `limit` of the newest."""
        key = self.connection.key("build", page.build, "log")
        pipeline = self.connection.client.pipeline(transaction=False)
        for line in lines:
            fields = {"t": line.text, "a": page.attempt, "n": page.step, "s": str(line.stream)}
            if line.hook:
                fields["h"] = line.hook
            pipeline.xadd(key, fields, maxlen=limit, approximate=True)
        self.connection.run(pipeline)

    def read(self, build: str, after: str = "-") -> list[Entry]:
        """The lines after the one with id `after`, oldest first."""
        start = after if after == "-" else f"({after}"
        with self.connection.reaching() as client:
            found = client.xrange(self.connection.key("build", build, "log"), start, "+", 5_000)
        return [to_entry(id_, fields) for id_, fields in found]

    def wait(self, build: str, after: str, limit_s: float) -> list[Entry]:
        """The lines after `after`, waiting up to `limit_s` for the first of them."""
        key = self.connection.key("build", build, "log")
        with self.connection.reaching() as client:
            found = client.xread({key: after}, count=1_000, block=int(limit_s * 1_000))
        return [to_entry(id_, fields) for _, entries in found or () for id_, fields in entries]


def to_entry(id_: str, fields: dict[str, str]) -> Entry:
    line = Line(text=fields["t"], hook=fields.get("h", ""), stream=Stream(fields["s"]))
    return Entry(id_, int(fields["a"]), int(fields["n"]), line)


class LogFile:
    """The whole log of one attempt as a file, up to a limit of size."""

    def __init__(self, file: Path, limit_bytes: int) -> None:
        self._file = file.open("a", encoding="utf-8", errors="surrogateescape")
        self._left = limit_bytes - self._file.tell()

    def write(self, line: Line) -> None:
        hook = f"[{line.hook}] " if line.hook else ""
        text = f"{strftime('%Y-%m-%dT%H:%M:%S%z')} {hook}{line.text}\n"
        if self._left <= 0:
            return
        self._left -= len(text)
        if self._left <= 0:
            text += "(the log is cut here: it reached its largest size)\n"
        self._file.write(text)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class FarmReport:
    """A `Report` that writes a step's lines to Redis and to the log file, and its progress.

    A thread sends what has gathered every half second, so that a chatty hook costs one round trip
    for many lines; while Redis is away the newest lines wait here, and are never waited for.
    """

    def __init__(self, logbook: Logbook, file: LogFile, page: Page, limit: int) -> None:
        self._logbook, self._file, self._page, self._limit = logbook, file, page, limit
        self._lines: deque[Line] = deque(maxlen=HELD_LINES)
        self._progress: Progress | None = None
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._thread = threading.Thread(
            target=self._send_often, name=f"log {page.build}", daemon=True
        )

    def line(self, line: Line) -> None:
        with self._lock, suppress(OSError):  # a full disk must not end the step that fills it
            self._lines.append(line)
            self._file.write(line)

    def progress(self, progress: Progress) -> None:
        self._progress = progress

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ending.set()
        self._thread.join()

    def _send_often(self) -> None:
        while not self._ending.wait(FLUSH_S):
            self._send()
        self._send()

    def _send(self) -> None:
        with self._lock, suppress(OSError):
            lines = list(self._lines)
            self._lines.clear()
            self._file.flush()
        progress, self._progress = self._progress, None
        try:
            for part in in_parts(lines, 500):
                self._logbook.write(self._page, part, self._limit)
            if progress:
                self._say(progress)
        except FarmUnreachable:
            with self._lock:
                self._lines.extendleft(reversed(lines[-(HELD_LINES - len(self._lines)) :]))

    def _say(self, progress: Progress) -> None:
        connection = self._logbook.connection
        with connection.reaching() as client:
            client.hset(
                connection.key("build", self._page.build), "progress", encode(progress).decode()
            )


def in_parts(lines: list[Line], size: int) -> Iterator[list[Line]]:
    for start in range(0, len(lines), size):
        yield lines[start : start + size]
