"""Has the web site about the releases written: a duty of each supervisor with a `report_dir`,
whether it leads or not, as the site is on its own machine.

`stagefarm report` writes it, as a process of its own: however long that takes, scans go on. It is
written while Redis does not answer too, and says so then.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.farm.own_commands import run_command
from tasks.errors import StagefarmError
from tasks.settings import Settings

LINES_MAX = 3
"""So many of the last lines of a failed report are said."""


@dataclass(slots=True)
class SiteReports:
    settings: Settings
    say: Callable[[str], object]
    _next_at: float = 0.0
    _failed: str = ""
    _thread: threading.Thread | None = None

    def look(self) -> None:
        """Begin to write the site, unless it is being written, or was a moment ago."""
        if not self.settings.report_dir or (self._thread and self._thread.is_alive()):
            return
        if time.monotonic() < self._next_at:
            return
        self._next_at = time.monotonic() + self.settings.report_s
        self._thread = threading.Thread(target=self.write, daemon=True)
        self._thread.start()

    def write(self) -> None:
        """Write the site, and say so if that fails, or does not fail any more."""
        try:
            failed = self._failure()
        except (StagefarmError, OSError) as error:
            failed = str(error)
        if failed and failed != self._failed:
            self.say(f"report: {failed}")
        if self._failed and not failed:
            self.say(f"report: {self.settings.report_dir} is written again")
        self._failed = failed

    def _failure(self) -> str:
        """What the command says where it fails, empty where it does not."""
        files = [str(file) for file in sorted(Path(self.settings.release_dir).glob("*.yaml"))]
        if not files:
            return f"there are no release files (*.yaml) in {self.settings.release_dir}"
        lines: deque[str] = deque(maxlen=LINES_MAX)
        code = run_command(["report", *files, "--to", self.settings.report_dir], lines.append)
        told = [line.strip() for line in lines if not line.startswith("warning:")]
        return ("; ".join(told) or f"exit code {code}") if code else ""
