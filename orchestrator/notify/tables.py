"""Incidents as a table and as JSON. Their words come from builds and logs: they are escaped."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec
from rich.markup import escape
from rich.table import Table

from orchestrator.display.printable import visible
from orchestrator.display.terminal import duration
from orchestrator.notify.rules import Incident
from orchestrator.notify.targets import Target
from orchestrator.notify.texts import headline, since


def in_order(incidents: Iterable[Incident]) -> list[Incident]:
    """Those that are open, the newest first, then those that have ended, the last first."""
    return sorted(incidents, key=lambda one: (bool(one.closed), -(one.closed or since(one))))


def incidents_table(incidents: Sequence[Incident], now: float) -> Table:
    table = Table(show_edge=False, box=None, pad_edge=False)
    for title in ("state", "what", "since", "told"):
        table.add_column(title, overflow="fold")
    for one in incidents:
        table.add_row(
            str(one.state),
            escape(visible(headline(one))),
            f"{duration(max(0.0, now - since(one)))} ago",
            f"{duration(max(0.0, now - one.told))} ago" if one.told else "",
        )
    return table


def target_lines(targets: Collection[Target], waiting: Collection[int]) -> list[str]:
    """A line for each target that does not have all messages, or has lost some."""
    lines = []
    for target in sorted(targets, key=lambda one: one.name):
        left = sum(number > target.sent for number in waiting)
        if left and target.fails:
            lines.append(f"{visible(target.name)} does not answer: {_counted(left)} to be sent")
        if target.lost:
            lines.append(f"{visible(target.name)} never took {_counted(target.lost)}")
    return lines


def as_values(incidents: Sequence[Incident]) -> list[Mapping[str, object]]:
    """Incidents as values for JSON, each with its state in words."""
    return [
        {
            "id": one.id,
            "kind": one.situation.kind,
            "state": one.state,
            "headline": headline(one),
            "since": since(one),
            "told": one.told or None,
            "closed": one.closed or None,
            "times": one.times,
            "text": one.situation.text,
            "lines": list(one.situation.lines),
            "members": msgspec.to_builtins(one.situation.members),
        }
        for one in incidents
    ]


def _counted(messages: int) -> str:
    return f"{messages} message{'s' * (messages != 1)}"
