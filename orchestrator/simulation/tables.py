"""Figures of simulations as a table, as values for JSON; events as lines for other programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime

from rich.table import Table

from orchestrator.display.terminal import duration
from orchestrator.simulation.figures import Figures, Times
from orchestrator.simulation.model import Event
from orchestrator.simulation.policies import Policy

DAY_S = 24 * 3600
LAST_MOMENT = datetime.max.replace(tzinfo=UTC, microsecond=0).timestamp()


def figures_table(found: Mapping[Policy, Figures]) -> Table:
    """One column per policy. What there is none of, such as contracts, has no line."""
    table = Table(show_edge=False, box=None, pad_edge=False)
    table.add_column("")
    for policy in found:
        table.add_column(str(policy), justify="right")
    rows = [_rows(figures) for figures in found.values()]
    for name in rows[0]:
        if any(row[name] for row in rows):
            table.add_row(name, *(row[name] for row in rows))
    return table


def _rows(figures: Figures) -> dict[str, str]:
    ages, kept = figures.ages, figures.ages.in_contract
    broken = f"{len(ages.broken)} of {ages.contracts}"
    return {
        "time in contract": "" if kept is None else f"{kept:.2%}",
        "stages ever out of contract": "" if kept is None else broken,
        "age: median": age(ages.median_s),
        "age: worst": age(ages.worst_s),
        "nights made": str(figures.nights),
        "nights skipped": str(figures.skipped),
        "nights took: median": _time(figures.makespan, "median_s"),
        "nights took: 95 %": _time(figures.makespan, "p95_s"),
        "nights took: worst": _time(figures.makespan, "worst_s"),
        "urgent builds waited: median": _time(figures.urgent, "median_s"),
        "urgent builds waited: 95 %": _time(figures.urgent, "p95_s"),
        "urgent builds waited: worst": _time(figures.urgent, "worst_s"),
        "hosts busy": f"{figures.busy:.1%}",
        **{f"builds {what}": str(count) for what, count in figures.builds.items()},
    }


def _time(times: Times, name: str) -> str:
    return duration(getattr(times, name)) if times.count else ""


def age(seconds: float) -> str:
    """`3d07h`, or as a duration below a day."""
    days, rest = divmod(seconds, DAY_S)
    return f"{days:.0f}d{rest // 3600:02.0f}h" if days else duration(seconds)


def figures_values(found: Mapping[Policy, Figures]) -> dict[str, object]:
    return {str(policy): asdict(figures) for policy, figures in found.items()}


def event_line(policy: Policy, event: Event) -> str:
    """One event as a line of JSON, without what it does not have."""
    values = {
        "policy": str(policy),
        "time": _clock(event.at),
        "event": str(event.what),
        "batch": event.batch or None,
        "night": _clock(event.night) if event.night else None,
        "stage": event.stage or None,
        "attempt": event.attempt or None,
        "host": event.host or None,
        "slot": event.slot if event.slot >= 0 else None,
        "built_at": _clock(event.built_at) if event.built_at else None,
    }
    return json.dumps({name: value for name, value in values.items() if value is not None})


def _clock(seconds: float) -> str:
    """The moment in ISO 8601. What a farm is never done with ends with the last of them."""
    moment = datetime.fromtimestamp(min(seconds, LAST_MOMENT), UTC)
    return moment.isoformat(timespec="milliseconds")
