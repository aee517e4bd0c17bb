"""Logs as pages: of so many lines each, with the line that tells of the failure marked.

Escape sequences are removed, and what would show nothing, or change how other text is shown, is
shown as an escape by the template.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from orchestrator.display.printable import plain

PAGE_LINES = 5_000
PAGES_MAX = 20
"""Of longer logs the newest pages are shown."""

LINE_MAX = 2_000
BEFORE, AFTER = 8, 3
"""How many lines around the failure the page of a build shows."""

LOOK_BACK = 400
"""The failure is looked for in so many last lines."""

_FAILURE = re.compile(
    r"\b(?:error|fatal|failed|failure|killed|cannot|no space left)\b", re.IGNORECASE
)


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
    """The line that tells of the failure, from 1, its page, and the lines around it."""

    line: int
    suffix: str
    around: tuple[LogLine, ...]


def pages_of(log: Sequence[str], failure: int = 0) -> Iterator[LogPage]:
    """The pages of `log`; `failure` is the number of the line to mark, from 1."""
    suffixes = _suffixes(log)
    for number in suffixes:
        start = (number - 1) * PAGE_LINES
        lines = _lines(log, start, start + PAGE_LINES, failure)
        yield LogPage(number=number, suffixes=suffixes, lines=lines)


def failure_in(log: Sequence[str]) -> FailureAt | None:
    """The last line that speaks of a failure, else the last with text; None for an empty log."""
    last = range(len(log) - 1, max(-1, len(log) - 1 - LOOK_BACK), -1)
    told = next((n for n in last if _FAILURE.search(log[n][:LINE_MAX])), None)
    if told is None:
        told = next((n for n in last if log[n].strip()), None)
    if told is None:
        return None
    return FailureAt(
        line=told + 1,
        suffix=_suffixes(log)[told // PAGE_LINES + 1],
        around=_lines(log, max(0, told - BEFORE), told + 1 + AFTER, told + 1),
    )


def _suffixes(log: Sequence[str]) -> dict[int, str]:
    """The first page that is shown has the name of the build alone."""
    count = max(1, -(-len(log) // PAGE_LINES))
    first = max(1, count - PAGES_MAX + 1)
    return {page: f"~{page}" if page > first else "" for page in range(first, count + 1)}


def _lines(log: Sequence[str], start: int, end: int, failure: int) -> tuple[LogLine, ...]:
    return tuple(
        LogLine(number=number, text=_readable(text), is_failure=number == failure)
        for number, text in enumerate(log[start:end], start + 1)
    )


def _readable(text: str) -> str:
    text = plain(text[: 4 * LINE_MAX]).replace("\t", "    ")
    return text if len(text) <= LINE_MAX else f"{text[:LINE_MAX]}…"
