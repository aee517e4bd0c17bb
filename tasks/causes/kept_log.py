"""The newest lines of a build whose log is not a file: one that runs on a terminal."""

from __future__ import annotations

from collections import deque

from tasks.causes.log import LINE_MAX_CHARS, LogLine, parsed
from tasks.causes.reader import find_cause
from tasks.causes.rules import usable_rules
from tasks.errors import StagefarmError
from tasks.reporting import Line, Progress, Report
from tasks.results import Cause
from tasks.settings import Settings

KEPT_LINES = 20_000


class KeptLog:
    """A `Report` that passes everything on to `report`, and keeps the newest lines."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._lines: deque[LogLine] = deque(maxlen=KEPT_LINES)
        self._count = 0

    def line(self, line: Line) -> None:
        self._count += 1
        self._lines.append(LogLine(self._count, line.text[:LINE_MAX_CHARS], line.hook))
        self._report.line(line)

    def progress(self, progress: Progress) -> None:
        self._report.progress(progress)

    def cause(self, settings: Settings, failure: StagefarmError) -> Cause | None:
        """The cause of `failure` in these lines."""
        lines = [parsed(line.number, line.text, line.hook) for line in self._lines]
        rules = usable_rules(
            settings.cause_rules_dir, lambda text: self._report.line(Line(text=text))
        )
        return find_cause(lines, rules, error=type(failure).__name__, reason=str(failure))
