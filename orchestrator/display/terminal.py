"""Terminal output of one build on this machine: hook output, progress bars, a summary."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

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

from orchestrator.display.cause import described, excerpt
from orchestrator.display.printable import RESET, coloured, plain
from tasks.model import Build, Step, short_id
from tasks.reporting import Line, Progress, Stream
from tasks.results import Artifact, Cause

DIM = "\x1b[2m"
STYLES = {Stream.STDOUT: "", Stream.STDERR: "\x1b[33m", Stream.NOTE: "\x1b[1;36m"}


class Bars:
    """A `Report` that shows a progress bar for each task, if `console` is a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown: rich.progress.Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Bars:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def are_shown(self) -> bool:
        return self._shown is not None

    def line(self, line: Line) -> None:
        """Ignored: notes are for the log of a build."""

    def progress(self, progress: Progress) -> None:
        if not self._console.is_terminal:
            return
        if not self._shown:
            self._shown = _bars(self._console)
            self._shown.start()
        if progress.what not in self._tasks:
            self._tasks[progress.what] = self._shown.add_task(
                escape(progress.what), unit=progress.unit
            )
        self._shown.update(
            self._tasks[progress.what], completed=progress.done, total=progress.total or None
        )

    def end(self) -> None:
        """Remove the bars."""
        if self._shown:
            self._shown.stop()
        self._shown = None
        self._tasks = {}


class Terminal:
    """A `Report` that prints to a terminal. `quiet` hides the output of hooks; `json` prints to
    stderr, so that stdout has only the JSON."""

    def __init__(self, build: Build, *, quiet: bool, json: bool = False) -> None:
        self._build = build
        self._quiet = quiet
        self._console = Console(stderr=json, highlight=False, soft_wrap=True)
        self._colours = self._console.color_system is not None and not self._console.no_color
        self._bars = Bars(self._console)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.end()

    def step(self, step: Step) -> None:
        """Print that `step` begins."""
        self._bars.end()
        count = f"[{step.number + 1}/{len(self._build.steps)}]"
        self._console.print(Text.assemble((count, "bold green"), " ", (step.title, "bold")))

    def line(self, line: Line) -> None:
        if self._quiet and line.stream is not Stream.NOTE:
            return
        self._write(self._styled(line))

    def _styled(self, line: Line) -> str:
        name = f"{plain(line.hook)} │ " if line.hook and line.stream is not Stream.NOTE else ""
        if not self._colours:
            return name + plain(line.text)
        name = f"{DIM}{name}{RESET}" if name else ""
        style = STYLES[line.stream]
        return f"{name}{style}{coloured(line.text)}{RESET if style else ''}"

    def _write(self, text: str) -> None:
        """Bypass rich where no bar is shown: hooks print millions of lines, and it is slow."""
        if self._bars.are_shown:
            self._console.print(Text.from_ansi(text))
            return
        self._console.file.write(f"{text}\n")
        self._console.file.flush()

    def progress(self, progress: Progress) -> None:
        self._bars.progress(progress)

    def cause(self, cause: Cause) -> None:
        """Print what the log says about a failure."""
        self._bars.end()
        self._console.print(Text.assemble(("cause: ", "bold"), described(cause)))
        for line in excerpt(cause):
            self._console.print(Text(line, "dim"))

    def summary(self, times: Sequence[tuple[str, float]], artifacts: Sequence[Artifact]) -> None:
        """Print the build's steps, each with its seconds, and its artifacts."""
        table = Table(title=short_id(self._build.id), title_justify="left", show_edge=False)
        table.add_column("step")
        table.add_column("time", justify="right")
        for title, seconds in times:
            table.add_row(escape(title), duration(seconds))
        table.add_section()
        table.add_row("total", duration(sum(seconds for _, seconds in times)))
        self._console.print(table)
        for artifact in artifacts:
            self._console.print(_describe(artifact))


def bars() -> Bars:
    """Progress bars on stderr, since stdout may be read by a program."""
    return Bars(Console(stderr=True))


def _bars(console: Console) -> rich.progress.Progress:
    return rich.progress.Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        _Amount(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


class _Amount(ProgressColumn):
    """Bytes and their rate, or a count, depending on the unit of the task."""

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


def _describe(artifact: Artifact) -> Text:
    return Text.assemble(
        (artifact.path, "bold green"), f"  {size(artifact.size_bytes)}\nsha256 {artifact.sha256}"
    )
