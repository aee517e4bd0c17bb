"""Reads the cause of a failed build in a process of its own, within limits of time and memory.

A log is hostile, and a reader may crash: whatever happens there, the caller goes on without a
cause.
"""

from __future__ import annotations

import logging
import resource
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import msgspec

from tasks.errors import HostUnfit, StagefarmError
from tasks.host.process import piped
from tasks.results import Cause

logger = logging.getLogger(__name__)

TIME_MAX_S = 10
MEMORY_MAX_BYTES = 1024**3
ANSWER_MAX_BYTES = 64 * 1024
REASON_MAX_CHARS = 4_000


def cause_of(log: Path, folder: str, *, error: str, reason: str) -> Cause | None:
    """The cause in the file `log` of a build that ended with the error of class `error` and the
    message `reason`, by the shipped rules and those in `folder`. None if it cannot be read; never
    raises."""
    try:
        with log.open("rb") as opened:
            return _ask(opened, [folder, error, _plain(reason)])
    except (OSError, StagefarmError, subprocess.SubprocessError, ValueError) as failed:
        logger.warning("no cause is known of the failure in %s: %s", log, failed)
        return None


def _ask(log: IO[bytes], arguments: list[str]) -> Cause | None:
    argv = [sys.executable, "-P", "-m", "tasks.causes.main", *arguments]
    with TemporaryFile() as answer, TemporaryFile() as said:
        with piped(argv, stdin=log, stdout=answer, stderr=said, preexec_fn=_limit) as reader:
            reader.wait(TIME_MAX_S)
        if words := _beginning(said).decode(errors="replace").strip():
            logger.warning("reading the cause: %s", words[:REASON_MAX_CHARS])
        if reader.returncode:
            raise HostUnfit(f"its reader ended with {reader.returncode}")
        return msgspec.json.decode(_beginning(answer), type=Cause | None)


def _beginning(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read(ANSWER_MAX_BYTES)


def _limit() -> None:
    """In the new process: a runaway is ended by the kernel, whatever it uses up."""
    resource.setrlimit(resource.RLIMIT_CPU, (TIME_MAX_S, TIME_MAX_S))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX_BYTES, MEMORY_MAX_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (ANSWER_MAX_BYTES, ANSWER_MAX_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _plain(text: str) -> str:
    """`text` as an argument of a program: bounded, without zero bytes or halves of characters."""
    return text[:REASON_MAX_CHARS].replace("\0", " ").encode(errors="replace").decode()
