"""Runs commands of this stagefarm as processes of their own, for duties of the supervisor that may
take long, or fail, without it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from tasks.host.process import run
from tasks.reporting import Stream


def run_command(words: list[str], on_line: Callable[[str], object]) -> int:
    """Run `stagefarm WORDS` with our settings, and pass each line of its output on; returns its
    exit code. It is told to end when we do. `HostUnfit` where it cannot be started."""
    program = [sys.executable, "-P", "-m", "orchestrator"]
    argv = ["setpriv", "--pdeathsig", "TERM", "--", *program, *words]

    def pass_on(line: str, _: Stream) -> None:
        on_line(line)

    return run(argv, on_line=pass_on, env=dict(os.environ))
