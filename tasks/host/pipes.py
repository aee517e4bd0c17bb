"""Pipes to and from the programs that work on tarballs: large, written and read in parallel."""

from __future__ import annotations

import fcntl
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import IO

from tasks.errors import StagefarmError
from tasks.host.files import write_all

CHUNK_BYTES = 1 << 20
"""Most that is read at once; also the size that pipes are set to."""


def drained(pipe: IO[bytes] | None) -> Iterator[bytes]:
    """The data of a pipe, as it arrives, in large chunks."""
    assert pipe
    fd = widened(pipe).fileno()
    return iter(lambda: os.read(fd, CHUNK_BYTES), b"")


def widened(pipe: IO[bytes]) -> IO[bytes]:
    """`pipe`, as large as the system allows: fewer switches between two programs."""
    with suppress(OSError):
        fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, CHUNK_BYTES)
    return pipe


@contextmanager
def killed_on_error(program: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    except BaseException:
        program.kill()
        raise


@contextmanager
def feeding(pipe: IO[bytes] | None, pieces: Iterator[bytes]) -> Iterator[None]:
    """Writes `pieces` to `pipe` in a thread while the body runs, then closes it. Writing stops if
    the reader exits; an error of `pieces` is raised at the end of the body."""
    assert pipe
    failed: list[StagefarmError | OSError] = []

    def write() -> None:
        with suppress(BrokenPipeError), closing(widened(pipe)):
            try:
                for piece in pieces:
                    write_all(pipe.fileno(), piece)
            except BrokenPipeError:
                pass
            except (StagefarmError, OSError) as error:
                failed.append(error)

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if failed:
        raise failed[0]
