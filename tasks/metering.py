"""Counting a long piece of work, and telling a `Report` about it a few times a second."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from tasks.model import Progress
from tasks.reporting import Report

EVERY_S = 0.2


@dataclass(slots=True)
class Meter:
    """Add to it as work is done; it reports at the start of the work, rarely in between, and when
    `finish` is called."""

    report: Report
    what: str
    total: int = 0
    unit: str = "B"
    done: int = 0
    _next: float = field(default=0.0, repr=False)

    def add(self, amount: int) -> None:
        self.reach(self.done + amount)

    def reach(self, done: int) -> None:
        self.done = done
        if (now := time.monotonic()) >= self._next:
            self._next = now + EVERY_S
            self._tell()

    def finish(self) -> None:
        """The work is complete: what was done is what there was to do."""
        self.total = self.done
        self._tell()

    def _tell(self) -> None:
        total = max(self.total, self.done) if self.total else 0
        self.report.progress(Progress(what=self.what, done=self.done, total=total, unit=self.unit))
