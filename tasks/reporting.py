"""Receivers of a step's log lines and progress: a terminal, the ledger, or a pipe to them."""

from __future__ import annotations

from typing import Protocol

from tasks.model import Line, Progress


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
