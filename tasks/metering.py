"""Counts the progress of a long task, and reports it a few times per second."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from tasks.reporting import Progress, Report

EVERY_S = 0.2


@dataclass(slots=True)
class Meter:
    """Counts work done. It reports at the start, then at most every EVERY_S seconds, and on
    `finish`."""

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
            self._send()

    def finish(self) -> None:
        """Report that the work is complete, with what was done as the total."""
        self.total = self.done
        self._send()

    def _send(self) -> None:
        total = max(self.total, self.done) if self.total else 0
        self.report.progress(Progress(what=self.what, done=self.done, total=total, unit=self.unit))
