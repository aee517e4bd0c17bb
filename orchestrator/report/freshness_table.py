"""The stages by how long their contracts still hold: a table, and values for programs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec
from rich.markup import escape
from rich.table import Table

from orchestrator.display.printable import plain
from orchestrator.display.times import long_duration, moment
from orchestrator.report.chances import Aged, Chance, Coming
from orchestrator.report.model import Freshness
from orchestrator.report.pages import SYMBOLS
from tasks.model import short_id

COLOURS = {
    Freshness.FRESH: "green",
    Freshness.DUE: "yellow",
    Freshness.STALE: "red",
    Freshness.NEVER: "magenta",
    Freshness.UNBOUND: "dim",
}


def freshness_table(stages: Sequence[Aged], now: float) -> Table:
    """One line per stage, in their order."""
    table = Table(show_edge=False, box=None, pad_edge=False)
    several = len({one.view.name.release for one in stages}) > 1
    titles = ("stage", "queue", *["release"] * several, "state", "age", "max_age", "slack")
    for title in (*titles, "next chance"):
        table.add_column(title, overflow="fold")
    for one in stages:
        name, state = one.view.name, one.view.freshness
        table.add_row(
            _text(name.title),
            _text(name.queue),
            *[_text(name.release)] * several,
            f"[{COLOURS[state]}]{SYMBOLS[state]} {state}[/]",
            long_duration(one.age_s(now)) if one.view.built_at else "",
            long_duration(one.view.max_age_s) if one.view.max_age_s else "",
            long_duration(slack_s) if math.isfinite(slack_s := one.slack_s(now)) else "",
            _text(told(one.chance, now)),
        )
    return table


def told(chance: Chance, now: float) -> str:
    """What comes next, in words."""
    name = short_id(chance.name)
    match chance.what:
        case Coming.RUNNING:
            return f"{name} runs since {long_duration(now - chance.at)}"
        case Coming.QUEUED:
            return f"{name} is queued{_start(chance.at, now)}"
        case Coming.BLOCKED:
            return f"{name} waits for the build it starts from"
        case Coming.SCHEDULED:
            return f"{chance.name}, due {moment(chance.at)}"
    return "nothing is queued or scheduled"


def _start(at: float, now: float) -> str:
    if not at:
        return ""
    return f", starts in about {long_duration(at - now)}" if at > now else ", the next to start"


def as_values(one: Aged, now: float) -> Mapping[str, object]:
    """A stage as values for JSON; times in seconds since 1970."""
    name, view, slack_s = one.view.name, one.view, one.slack_s(now)
    return {
        "release": name.release,
        "product": name.product,
        "variant": name.variant,
        "arch": name.arch,
        "subarch": name.subarch,
        "freshness": view.freshness,
        "is_broken": one.is_broken,
        "built_at": view.built_at or None,
        "max_age_s": view.max_age_s or None,
        "expected_rest_s": one.rest_s,
        "slack_s": slack_s if math.isfinite(slack_s) else None,
        "next": msgspec.to_builtins(one.chance),
    }


def _text(value: str) -> str:
    return escape(plain(value))
