"""The log of a build as its host keeps it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.reporting import Line
from tasks.worker.build_log import LogFile

CUT = b"(log truncated: it reached its size limit)\n"


def write(file: Path, limit_bytes: int, *texts: str) -> bytes:
    log = LogFile(file, limit_bytes)
    for text in texts:
        log.write(Line(text=text, hook="h"))
    log.close()
    return file.read_bytes()


@pytest.mark.parametrize(
    "text", ["x" * 40, "\N{SNOWMAN}" * 40, "\udcff" * 40], ids=["ascii", "utf-8", "no text"]
)
def test_the_limit_is_one_of_bytes_and_cuts_at_a_line(tmp_path: Path, text: str) -> None:
    """A line of three bytes a character, or one that is no text, is counted as the file has it."""
    (line,) = write(tmp_path / "one", 1 << 20, text).splitlines(keepends=True)
    limit_bytes = 4 * len(line) + 1
    data = write(tmp_path / "log", limit_bytes, *[text] * 20)
    *lines, last = data.splitlines(keepends=True)
    assert last == CUT
    assert len(lines) == 5
    assert {len(kept) for kept in lines} == {len(line)}


def test_a_log_that_was_cut_stays_so(tmp_path: Path) -> None:
    """The next step of the build opens the file again."""
    cut = write(tmp_path / "log", 100, "\N{SNOWMAN}" * 40)
    assert cut.endswith(CUT)
    assert write(tmp_path / "log", 100, "more") == cut


def test_the_steps_of_a_build_share_the_limit(tmp_path: Path) -> None:
    first = write(tmp_path / "log", 200, "\N{SNOWMAN}" * 20)
    both = write(tmp_path / "log", 200, *["\N{SNOWMAN}" * 20] * 9)
    assert both.startswith(first)
    assert len(both) < 200 + len(first) + len(CUT)
