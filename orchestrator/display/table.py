"""Builds, hosts and artifacts as tables for a terminal."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.display.cause import brief, described
from orchestrator.display.printable import plain
from orchestrator.display.terminal import duration, size
from tasks.errors import StagefarmError
from tasks.ledger.hosts import Host
from tasks.ledger.records import Record, Summary
from tasks.ledger.stages import counted
from tasks.model import BuildState, decode, short_id
from tasks.reporting import Progress
from tasks.results import Blamed

COLOURS = {
    BuildState.BLOCKED: "dim",
    BuildState.QUEUED: "dim",
    BuildState.RUNNING: "cyan",
    BuildState.SUCCEEDED: "green",
    BuildState.FAILED: "red",
    BuildState.CANCELLED: "yellow",
}
BAR_WIDTH = 18
FOR_BARS = 80
FOR_VARIANTS = 110
"""Widths in columns from which there is room for bars, and for the options of a batch's matrix."""
WIDE = 400
"""Width in columns where there is no terminal: a program reads whole lines."""


def console(*, stderr: bool = False) -> Console:
    """A console as wide as the terminal, or WIDE columns where there is none."""
    found = Console(stderr=stderr, highlight=False)
    return found if found.is_terminal else Console(stderr=stderr, highlight=False, width=WIDE)


def stage_of(record: Record) -> str:
    """The state of a build in one line."""
    if record.state is BuildState.RUNNING:
        again = f", attempt {record.attempt}" if record.attempt > 1 else ""
        if record.step < 0:
            return f"claimed by {record.host}{again}"
        count = f"step {record.step + 1}/{len(record.titles)}"
        return f"{count} on {record.host}{again}: {record.step_title}"
    if record.state is BuildState.QUEUED:
        return f"queued in {record.queue}" + (f", attempt {record.attempt}" * (record.attempt > 1))
    if record.state is BuildState.BLOCKED:
        return f"blocked until {short_id(record.after)} has succeeded"
    reason = record.reason or record.cancel
    gate = f", {gate_of(record)}" if gate_of(record) else ""
    cause = f"; {described(record.cause)}" if record.cause else ""
    return f"{record.state}{f': {reason}' if reason else ''}{cause}{gate}"


def gate_of(record: Record) -> str:
    """What the gate of a release says of a build that has succeeded; empty if it lets it pass."""
    return plain(record.gate) if record.state is BuildState.SUCCEEDED else ""


def builds_table(records: Sequence[Record], now: float, *, width: int, room: int = 0) -> Table:
    """One line per build, `width` columns wide; with `room`, at most so many lines, running builds
    first."""
    table = Table(show_edge=False, box=None, pad_edge=False)
    varied = width >= FOR_VARIANTS and any(record.variant for record in records)
    bars = width >= FOR_BARS
    for title in ("build", *["options"] * varied, "state", "host", "step", "time", *[""] * bars):
        table.add_column(title, no_wrap=title != "step", overflow="ellipsis")
    shown = list(records)
    if room and len(shown) > room:
        shown = sorted(shown, key=lambda record: ORDER[record.state])[: max(room - 1, 1)]
    for record in shown:
        name, *cells = _cells(record, now)
        table.add_row(name, *[escape(record.variant)] * varied, *cells, *[bar(record)] * bars)
    if len(shown) < len(records):
        table.add_row(f"… and {len(records) - len(shown)} more: {_counts(records)}")
    return table


ORDER = {
    BuildState.RUNNING: 0,
    BuildState.FAILED: 1,
    BuildState.QUEUED: 2,
    BuildState.BLOCKED: 3,
    BuildState.CANCELLED: 4,
    BuildState.SUCCEEDED: 5,
}


def _cells(record: Record, now: float) -> tuple[str | Text, ...]:
    repeats = f"rebuild of {short_id(record.rebuild_of)}" if record.rebuild_of else ""
    said = gate_of(record) or brief(record.cause) or record.reason or record.cancel
    step = escape(said or record.step_title or repeats)
    if record.state is BuildState.BLOCKED:
        step = escape(f"after {short_id(record.after)}")
    if record.state is BuildState.RUNNING and record.step >= 0:
        step = f"{record.step + 1}/{len(record.titles)} {escape(record.step_title)}"
    return (
        short_id(record.id),
        Text(str(record.state), COLOURS[record.state]),
        record.host,
        step,
        duration(max(0.0, (record.ended or now) - (record.claimed or record.submitted))),
    )


def bar(record: Record) -> ProgressBar | Text:
    """The progress of the build: its finished steps, and the progress within the running one."""
    steps = len(record.titles) or 1
    if record.state is BuildState.SUCCEEDED:
        return ProgressBar(total=1, completed=1, width=BAR_WIDTH)
    if record.state is not BuildState.RUNNING:
        return Text("")
    done = record.step + (1.0 if record.step_ended else _part(record.progress))
    return ProgressBar(total=steps, completed=max(0.0, done), width=BAR_WIDTH)


def _part(progress: str) -> float:
    if not progress:
        return 0.0
    try:
        said = decode(progress, Progress)
    except StagefarmError:
        return 0.0
    return min(1.0, said.done / said.total) if said.total else 0.0


def _counts(records: Sequence[Record]) -> str:
    counts = {state: sum(r.state is state for r in records) for state in BuildState}
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count)


def batches_table(batches: Sequence[Summary], now: float) -> Table:
    """One line per batch: its age, and how many of its builds are in each state."""
    table = Table(show_edge=False, box=None, pad_edge=False)
    for title in ("batch", "submitted", "builds", ""):
        table.add_column(title)
    for batch in batches:
        parts = [Text(f"{count} {state}", COLOURS[state]) for state, count in batch.counts.items()]
        age = f"{duration(max(0.0, now - batch.submitted))} ago"
        done = batch.counts.get(BuildState.SUCCEEDED, 0)
        total = sum(batch.counts.values())
        bar = ProgressBar(total=total or 1, completed=done, width=BAR_WIDTH)
        if batch.left_out:
            parts.append(Text(f"not built: {counted(batch.left_out)}", "dim"))
        table.add_row(short_id(batch.batch), age, Text(", ").join(parts), bar)
    return table


def hosts_table(hosts: Sequence[Host], now: float, lease_s: float) -> Table:
    table = Table(show_edge=False, box=None, pad_edge=False)
    for title in ("host", "state", "queues", "slots", "builds", "free disk", "seen", "version"):
        table.add_column(title, overflow="fold")
    for host in hosts:
        table.add_row(
            host.name,
            "\n".join([state_of(host, now, lease_s), *troubles_of(host, now)]),
            "\n".join(host.queues),
            f"{len(host.builds)}/{host.slots}",
            "\n".join(map(short_id, host.builds)),
            size(host.disk_free_bytes),
            f"{duration(max(0.0, now - host.seen))} ago" if host.seen else "never",
            host.version,
        )
    return table


def state_of(host: Host, now: float, lease_s: float) -> str:
    """`up`, `drained`, `refuses`, `stopped`, `lost`, or `unknown` for a host never seen."""
    if not host.incarnation:
        return "drained, never seen" if host.drained else "unknown"
    if host.left:
        return "stopped, drained" if host.drained else "stopped"
    if not host.alive(now, lease_s):
        return "lost"
    if host.drained:
        return "drained" if not host.builds else "draining"
    return f"refuses: {host.refuses}" if host.refuses else "up"


def troubles_of(host: Host, now: float) -> list[str]:
    """What is wrong with a host that builds on: the jobs it cannot build, the folders that it
    cannot remove."""
    unfit = [
        f"builds no {job} for {duration(found.until - now)}: {found.reason}"
        for job, found in sorted(host.unfit.items())
        if found.until > now
    ]
    passed = sum(one.outcome is Blamed.HOST for one in host.second_tries)
    count = f"{passed} of its last {len(host.second_tries)} failures passed on other hosts"
    suspect = [f"suspect: {count}"] * bool(passed)
    return suspect + unfit + [f"cannot clean up: {reason}" for reason in host.cleaning.values()]


def artifacts_table(records: Sequence[Record]) -> Table:
    """One line per artifact of `records`: its URL, size and checksum."""
    table = Table(show_edge=False, box=None, pad_edge=False)
    for title in ("artifact", "size", "sha256"):
        table.add_column(title, overflow="fold")
    for record in records:
        for artifact in record.artifacts:
            table.add_row(escape(artifact.path), size(artifact.size_bytes), artifact.sha256)
    return table


def times_table(
    record: Record,
    times: Sequence[tuple[float, float]],
    now: float,
    kept: Collection[int] = (),
) -> Table:
    """The steps of a build's attempt, counted from 1, with their times; those in `kept` (counted
    from 0) are marked as checkpoints."""
    table = Table(show_edge=False, box=None, pad_edge=False)
    table.add_column("", justify="right")
    table.add_column("step")
    table.add_column("time", justify="right")
    table.add_column("")
    for step, (title, (began, ended)) in enumerate(zip(record.titles, times, strict=True)):
        took = _took(record, began, ended, now)
        mark = "checkpoint" if step in kept else ""
        table.add_row(str(step + 1), escape(title), took, mark)
    return table


def _took(record: Record, began: float, ended: float, now: float) -> str:
    """The time of a step that began and ended at these times, each 0 if it did not."""
    if not began:
        return "done by an earlier attempt" if ended else ""
    if ended or record.state is BuildState.SUCCEEDED:  # the last step ends with its build
        return duration((ended or record.ended) - began)
    return (
        f"{duration(now - began)} so far" if record.state is BuildState.RUNNING else "not finished"
    )


def as_values(record: Record) -> Mapping[str, object]:
    """A record as values for JSON, with the title of its step."""
    import msgspec

    values: dict[str, object] = msgspec.to_builtins(record)
    return {**values, "step_title": record.step_title}
