"""Logs as pages: of so many lines each, with the line marked that is the cause of the failure.

Escape sequences are removed, and what would show nothing, or change how other text is shown, is
shown as an escape by the template.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.display.printable import plain
from orchestrator.report.details import Log
from tasks.results import Cause

PAGE_LINES = 5_000
PAGES_MAX = 20
"""Of longer logs the newest pages are shown."""

LINE_MAX = 2_000
EXCERPT_MAX = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    number: int
    text: str
    is_failure: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPage:
    """One page; `number` counts from 1. `suffix` is what the name of its file has after that of the
    build, and `suffixes` has that of each page that is shown, by number."""

    number: int
    suffixes: dict[int, str]
    lines: tuple[LogLine, ...]

    @property
    def suffix(self) -> str:
        return self.suffixes[self.number]


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureAt:
    """The lines that tell of a failure, the last of them or the one that a rule knows, and the page
    of the log that has it; None if it cannot be found in the log that is shown."""

    line: int
    suffix: str | None
    around: tuple[LogLine, ...]


def pages_of(log: Log, failure: int = 0) -> Iterator[LogPage]:
    """The pages of `log`; `failure` is the number of the line to mark."""
    suffixes = _suffixes(log)
    for page in suffixes:
        start = max((page - 1) * PAGE_LINES + 1, log.first)
        shown = log.lines[start - log.first : page * PAGE_LINES + 1 - log.first]
        lines = tuple(_line(number, text, failure) for number, text in enumerate(shown, start))
        yield LogPage(number=page, suffixes=suffixes, lines=lines)


def failure_of(cause: Cause | None, log: Log) -> FailureAt | None:
    """Where the cause of a failure is in the log; None if nothing is known."""
    if not cause or not cause.excerpt:
        return None
    line = cause.line or cause.excerpt[-1].number
    is_shown = log.is_counted and log.first <= line <= log.last
    return FailureAt(
        line=line,
        suffix=_suffixes(log).get(_page(line)) if is_shown else None,
        around=tuple(
            _line(one.number, one.text, cause.line) for one in cause.excerpt[:EXCERPT_MAX]
        ),
    )


def _page(line: int) -> int:
    return (line - 1) // PAGE_LINES + 1


def _suffixes(log: Log) -> dict[int, str]:
    """The first page that is shown has the name of the build alone."""
    last = _page(max(log.last, 1))
    first = max(_page(log.first), last - PAGES_MAX + 1)
    return {page: f"~{page}" if page > first else "" for page in range(first, last + 1)}


def _line(number: int, text: str, failure: int) -> LogLine:
    return LogLine(number=number, text=_readable(text), is_failure=number == failure)


def _readable(text: str) -> str:
    text = plain(text[: 4 * LINE_MAX]).replace("\t", "    ")
    return text if len(text) <= LINE_MAX else f"{text[:LINE_MAX]}…"
