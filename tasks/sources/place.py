"""Where a source is brought: what every source type is told beside the source itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tasks.files import private
from tasks.model import Line
from tasks.report import Report
from tasks.sources.known import Memory
from tasks.storage import Storage


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """`folder` is where the build was started: relative paths of a source begin there."""

    folder: Path
    storage: Storage
    report: Report

    def note(self, text: str) -> None:
        self.report.line(Line(text=text))

    @property
    def memory(self) -> Memory:
        return Memory(private(self.storage.seeds) / "known")
