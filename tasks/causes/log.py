"""The lines of a log, bounded: its newest part, without colours, cursor movements and time stamps.

A log is hostile. However long it or one of its lines is, only TAIL_BYTES, LINES_MAX lines and
LINE_MAX_CHARS characters of each are looked at.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from io import SEEK_END
from typing import BinaryIO

TAIL_BYTES = 8 * 1024 * 1024
LINES_MAX = 100_000
LINE_MAX_CHARS = 2_000
CHUNK_BYTES = 1024 * 1024

_STAMPED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} (?:\[([^\]]{1,200})\] )?")
"""What `tasks.worker.build_log` puts before a line: the time, and the hook that printed it."""

_CONTROLS = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # colours, and movements of the cursor
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?"  # strings for the terminal
    r"|\x1b[ -/]*[0-~]?"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]"
)


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line counted from 1, and the hook that printed it: empty for lines of stagefarm, and for
    logs that do not say."""

    number: int
    text: str
    hook: str = ""


def read_tail(log: BinaryIO) -> list[LogLine]:
    """The newest lines of `log`, which can seek. The first one may lack its beginning."""
    start = max(0, log.seek(0, SEEK_END) - TAIL_BYTES)
    log.seek(0)
    before = _count_lines(log, start)
    parts = log.read(TAIL_BYTES).split(b"\n")
    if parts[-1] == b"":
        parts.pop()
    before += max(0, len(parts) - LINES_MAX)
    return [
        parsed(number, part[: 4 * LINE_MAX_CHARS].decode(errors="replace"))
        for number, part in enumerate(parts[-LINES_MAX:], before + 1)
    ]


def _count_lines(log: BinaryIO, size_bytes: int) -> int:
    """The lines that end within the next `size_bytes` of `log`."""
    count = 0
    while size_bytes > 0 and (chunk := log.read(min(CHUNK_BYTES, size_bytes))):
        count += chunk.count(b"\n")
        size_bytes -= len(chunk)
    return count


def parsed(number: int, text: str, hook: str = "") -> LogLine:
    """A line as rules see it. Of a line that was drawn over, the last text remains."""
    if stamp := _STAMPED.match(text):
        text, hook = text[stamp.end() :], stamp[1] or ""
    drawn = text.rstrip("\r\n").rpartition("\r")[2]
    return LogLine(number, _CONTROLS.sub("", drawn[:LINE_MAX_CHARS]).rstrip(), hook)


def of_last_hook(lines: Sequence[LogLine]) -> Sequence[LogLine]:
    """The lines since the last hook began: those before are of hooks that ended well."""
    last = next((line.hook for line in reversed(lines) if line.hook), "")
    for index in range(len(lines) - 1, -1, -1):
        if lines[index].hook not in ("", last):
            return lines[index + 1 :]
    return lines


def after_hooks(lines: Sequence[LogLine]) -> Sequence[LogLine]:
    """The lines after the last line of a hook."""
    for index in range(len(lines) - 1, -1, -1):
        if lines[index].hook:
            return lines[index + 1 :]
    return lines
