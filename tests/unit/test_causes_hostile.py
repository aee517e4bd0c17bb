"""Hostile logs: the reader stays within its limits, and no failure of it is one of ours."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.display.cause import described, excerpt
from tasks.causes import launcher
from tasks.causes.launcher import ANSWER_MAX_BYTES, cause_of
from tasks.causes.log import LINE_MAX_CHARS, LINES_MAX, TAIL_BYTES, read_tail
from tasks.model import encode
from tasks.results import Cause, NumberedLine

FAILURE = b"src/a.c:7:1: error: conflicting types for 'bar'\n"
MIB = 1024**2


def read(log: Path, folder: str = "") -> Cause | None:
    return cause_of(log, folder, error="HookFailed", reason="hook work: command exited with 1")


def big(log: Path, *pieces: bytes | int) -> Path:
    """A log of these pieces; a number is a hole of so many zero bytes."""
    with log.open("wb") as file:
        for piece in pieces:
            file.truncate(file.seek(piece, os.SEEK_CUR)) if isinstance(piece, int) else file.write(
                piece
            )
    return log


@pytest.mark.parametrize(
    ("pieces", "line"),
    [
        ((b"one\n" * 1000, 64 * MIB, b"\n", FAILURE), 1002),
        ((b"\n" * 20_000_000, FAILURE), 20_000_001),
        ((b"again and again: error\r\n" * 500_000, FAILURE), 500_001),
        ((b"\xff\xfe\x00\x80" * 100_000, b"\n", FAILURE), 2),
        ((b"\x1b[" * 100_000, b"\n\x1b]0;title\x07\x1b[2J", FAILURE), 2),
        ((FAILURE.rstrip() + b"\x1b[0m" * 10, b"\n", b"x: error: " * 200_000), 1),
    ],
    ids=["zeros", "blank", "repeated", "no text", "escapes", "long"],
)
def test_a_log_may_be_anything(tmp_path: Path, pieces: tuple[bytes | int, ...], line: int) -> None:
    found = read(big(tmp_path / "build.log", *pieces))
    assert found
    assert (found.rule, found.line) == ("gcc-error", line)
    assert found.message == "conflicting types for 'bar'"
    assert len(encode(found)) < ANSWER_MAX_BYTES


def test_what_is_kept_of_a_log_is_bounded(tmp_path: Path) -> None:
    with big(tmp_path / "log", b"\n" * (TAIL_BYTES * 2)).open("rb") as log:
        lines = read_tail(log)
    assert len(lines) == LINES_MAX
    assert lines[-1].number == TAIL_BYTES * 2


def test_a_line_of_a_gibibyte(tmp_path: Path) -> None:
    with big(tmp_path / "log", b"first\n", 1024 * MIB, b"x" * TAIL_BYTES).open("rb") as log:
        (only,) = read_tail(log)
    assert (only.number, only.text) == (2, "x" * LINE_MAX_CHARS)


@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_log_without_a_cause_gives_the_error(tmp_path: Path, lines: int) -> None:
    found = read(big(tmp_path / "log", b"nothing to see\n" * lines))
    assert found
    assert (found.rule, found.kind) == ("", "unknown")
    assert found.message == "hook work: command exited with 1"
    assert found.excerpt[-1] == NumberedLine(number=lines, text="nothing to see")
    assert read(big(tmp_path / "log")), "also of an empty one"


def test_what_is_shown_of_a_cause_changes_no_terminal() -> None:
    hostile = "\x1b]0;x\x07\x1b[2J\u202e<b>\r\n"
    cause = Cause(
        rule="r",
        kind="k",
        message=hostile,
        fingerprint=hostile,
        package=hostile,
        line=1,
        excerpt=(NumberedLine(number=1, text=hostile),),
    )
    assert all(text.isprintable() for text in (described(cause), *excerpt(cause)))


def test_no_log_is_no_error(tmp_path: Path) -> None:
    assert read(tmp_path / "missing.log") is None
    assert read(tmp_path) is None


def test_rules_that_cannot_be_used_leave_the_shipped_ones(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "mine.toml").write_text("[[rule]")
    found = read(big(tmp_path / "log", FAILURE), str(tmp_path))
    assert found
    assert found.rule == "gcc-error"
    assert "only the shipped rules are used" in caplog.text


@pytest.mark.parametrize(
    "script",
    [
        "kill -SEGV $$",
        "exit 3",
        "echo nonsense",
        "while :; do :; done",
        "sleep 1000",
        "yes",
    ],
)
def test_a_reader_that_misbehaves_is_no_failure(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    program = tmp_path / "reader"
    program.write_text(f"#!/bin/bash\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(launcher, "TIME_MAX_S", 1)
    assert read(big(tmp_path / "log", FAILURE)) is None
    assert "no cause is known of the failure" in caplog.text


def test_the_memory_of_the_reader_is_limited() -> None:
    """Whatever it would need, it gets no more."""
    limited = subprocess.run(
        [sys.executable, "-c", "bytearray(2 * 1024**3)"],
        preexec_fn=launcher._limit,
        stderr=subprocess.PIPE,
        check=False,
    )
    assert limited.returncode == 1
    assert b"MemoryError" in limited.stderr
    assert resource.getrlimit(resource.RLIMIT_AS)[0] != launcher.MEMORY_MAX_BYTES
