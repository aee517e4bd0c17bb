"""The log of a build on its host: a file, and a buffer of lines to send to Redis."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import strftime
from types import TracebackType
from typing import Self

from tasks.errors import FarmUnreachable
from tasks.ledger.logs import Logbook, Page
from tasks.reporting import Line, Progress

FLUSH_S = 0.5


HELD_LINES = 2_000


class LogFile:
    """The whole log of one attempt as a file, up to a size limit."""

    def __init__(self, file: Path, limit_bytes: int) -> None:
        self._file = file.open("ab")
        self._left_bytes = limit_bytes - self._file.tell()

    def write(self, line: Line) -> None:
        hook = f"[{line.hook}] " if line.hook else ""
        text = f"{strftime('%Y-%m-%dT%H:%M:%S%z')} {hook}{line.text}\n"
        if self._left_bytes <= 0:
            return
        data = text.encode("utf-8", "surrogateescape")
        self._left_bytes -= len(data)
        if self._left_bytes <= 0:
            data += b"(log truncated: it reached its size limit)\n"
        self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class BuildLog:
    """A `Report` that writes a step's lines to Redis and to the log file, and its progress.

    A thread sends the buffered lines every half second, so that a hook with much output costs one
    round trip for many lines. While Redis is unreachable the newest lines stay in the buffer, and
    the step does not wait.
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
        with suppress(OSError):
            self._file.close()

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
                self._logbook.set_progress(self._page.build, progress)
        except FarmUnreachable:
            with self._lock:
                self._lines.extendleft(reversed(lines[-(HELD_LINES - len(self._lines)) :]))


def in_parts(lines: list[Line], size: int) -> Iterator[list[Line]]:
    for start in range(0, len(lines), size):
        yield lines[start : start + size]
