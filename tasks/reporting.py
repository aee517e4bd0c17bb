"""Where a step's lines and progress go: a terminal, the ledger, or a pipe to one of them."""

from __future__ import annotations

from typing import Protocol

from tasks.model import Line, Progress


class Report(Protocol):
    """Takes what happens as it happens; never raises for a reader that is gone."""

    def line(self, line: Line) -> None: ...

    def progress(self, progress: Progress) -> None: ...


class Silent:
    """A `Report` that forgets everything."""

    def line(self, line: Line) -> None:
        pass

    def progress(self, progress: Progress) -> None:
        pass
