"""Log lines and progress of a step, and their receivers: a terminal, the ledger, or a pipe."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Stream(StrEnum):
    """Where a log line came from: a command's two outputs, or stagefarm itself."""

    STDOUT = "stdout"
    STDERR = "stderr"
    NOTE = "note"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a log; `hook` is empty for lines of stagefarm itself."""

    text: str
    hook: str = ""
    stream: Stream = Stream.NOTE


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Progress of a long task; `total` is 0 while unknown, `unit` is `B`, `files` or `days`."""

    what: str
    done: int
    total: int = 0
    unit: str = "B"


class Report(Protocol):
    """Receives log lines and progress; never raises because a reader is gone."""

    def line(self, line: Line) -> None: ...

    def progress(self, progress: Progress) -> None: ...


class Silent:
    """A `Report` that discards everything."""

    def line(self, line: Line) -> None:
        pass

    def progress(self, progress: Progress) -> None:
        pass
