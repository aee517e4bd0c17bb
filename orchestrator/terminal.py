"""What a person sees of one build on this machine: hook output, progress bars, a summary."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

import rich.progress
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from tasks.model import Artifact, Build, Line, Progress, Step, Stream

if TYPE_CHECKING:
    from orchestrator.local import Summary

STYLES = {Stream.STDOUT: "", Stream.STDERR: "yellow", Stream.NOTE: "bold cyan"}


class Terminal:
    """A `Report` for a person. `quiet` leaves out what hooks print; `json` keeps standard output
    free for a program."""

    def __init__(self, build: Build, *, quiet: bool, json: bool = False) -> None:
        self._build = build
        self._quiet = quiet
        self._console = Console(stderr=json, highlight=False, soft_wrap=True)
        self._bars = rich.progress.Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            _Amount(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Terminal:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def step(self, step: Step) -> None:
        """Say that `step` begins."""
        for task in self._tasks.values():
            self._bars.remove_task(task)
        self._tasks = {}
        count = f"[{step.number + 1}/{len(self._build.steps)}]"
        self._console.print(Text.assemble((count, "bold green"), " ", (step.title, "bold")))

    def line(self, line: Line) -> None:
        if self._quiet and line.stream is not Stream.NOTE:
            return
        if line.stream is Stream.NOTE:
            self._console.print(Text(line.text, STYLES[line.stream]))
            return
        name = (f"{line.hook} │ " if line.hook else "", "dim")
        self._console.print(Text.assemble(name, _text(line)))

    def progress(self, progress: Progress) -> None:
        if progress.what not in self._tasks:
            self._tasks[progress.what] = self._bars.add_task(
                escape(progress.what), unit=progress.unit
            )
        self._bars.update(
            self._tasks[progress.what], completed=progress.done, total=progress.total or None
        )

    def summary(self, summary: Summary) -> None:
        """Say what the build took and what it left."""
        table = Table(title=summary.build.id, title_justify="left", show_edge=False)
        table.add_column("step")
        table.add_column("time", justify="right")
        for entry in summary.steps:
            table.add_row(escape(entry.step.title), duration(entry.seconds))
        table.add_section()
        table.add_row("total", duration(sum(entry.seconds for entry in summary.steps)))
        self._console.print(table)
        for artifact in summary.artifacts:
            self._console.print(_describe(artifact))


class _Amount(ProgressColumn):
    """Bytes and their rate, or a count, as the unit of the task says."""

    def __init__(self) -> None:
        super().__init__()
        self._bytes = (DownloadColumn(), TransferSpeedColumn())
        self._count = MofNCompleteColumn()

    def render(self, task: rich.progress.Task) -> Text:
        if task.fields.get("unit") != "B":
            return self._count.render(task)
        return Text(" ").join(column.render(task) for column in self._bytes)


def duration(seconds: float) -> str:
    """`0.4s`, `12s`, `3m05s`, `2h07m`."""
    if seconds < 10:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{rest}s"
    hours, minutes_left = divmod(minutes, 60)
    return f"{hours}h{minutes_left:02}m" if hours else f"{minutes}m{rest:02}s"


def size(size_bytes: int) -> str:
    """`512 B`, `38.2 MB`: in powers of 1000."""
    from rich.filesize import decimal

    return decimal(size_bytes)


def _text(line: Line) -> Text:
    """What a hook printed, with its colours."""
    text = Text.from_ansi(line.text)
    text.stylize_before(STYLES[line.stream])
    return text


def _describe(artifact: Artifact) -> Text:
    return Text.assemble(
        (artifact.path, "bold green"), f"  {size(artifact.size_bytes)}\nsha256 {artifact.sha256}"
    )
