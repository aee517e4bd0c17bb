"""Releases as tables for a terminal."""

from __future__ import annotations

import time
from collections.abc import Collection

from rich.markup import escape
from rich.table import Table

from orchestrator.display.terminal import duration, size
from orchestrator.display.times import moment
from orchestrator.release.catalog import Catalog, Stage
from orchestrator.release.publication import Outcome
from tasks.model import short_id


def _table(*titles: str) -> Table:
    table = Table(show_edge=False, box=None, pad_edge=False)
    for title in titles:
        is_number = title in ("version", "stages", "size")
        table.add_column(title, justify="right" if is_number else "left", overflow="fold")
    return table


def generations_table(catalog: Catalog, now: float | None = None) -> Table:
    """The current generation, and those that can be rolled back to."""
    table = _table("version", "created", "age", "stages", "")
    at = time.time() if now is None else now
    rows = [
        (catalog.version, catalog.created_at, len(catalog.stages), catalog.reason, "current"),
        *((one.version, one.created_at, one.stages, one.reason, "") for one in catalog.earlier),
    ]
    for version, created, count, reason, mark in rows:
        notes = ", ".join(escape(note) for note in (mark, reason) if note)
        age = duration(max(0.0, at - created))
        table.add_row(str(version), moment(created), age, str(count), notes)
    return table


def stage_name(stage: Stage) -> str:
    """`stage3 minimal-next x86-64bit.generic_64`."""
    queue = ".".join(part for part in (stage.arch, stage.subarch) if part)
    return " ".join(part for part in (stage.product, stage.variant, queue) if part)


def stages_table(catalog: Catalog, verified: Collection[str] | None = None) -> Table:
    """The stages of a generation; with `verified`, which of their tarballs were."""
    marked = verified is not None
    table = _table("stage", "build", "built", "size", "sha256", "", *["verified"] * marked)
    latest = {stage.id for stage in catalog.latest}
    for stage in catalog.stages:
        notes = ["latest"] * (stage.id in latest) + ["pinned"] * (stage.build in catalog.pins)
        done = ["yes" if stage.tarball.path in (verified or ()) else "no"] if marked else []
        table.add_row(
            escape(stage_name(stage)),
            escape(short_id(stage.build)),
            moment(stage.built_at),
            size(stage.tarball.size_bytes),
            f"{stage.tarball.sha256[:12]}…",
            ", ".join(notes),
            *done,
        )
    return table


def changes_table(outcome: Outcome) -> Table:
    """What a generation adds to the one before it, and what it leaves out."""
    old = {stage.id: stage for stage in outcome.before.stages} if outcome.before else {}
    new = {stage.id: stage for stage in outcome.catalog.stages}
    table = _table("", "stage", "build", "size")
    for mark, ids, stages in (
        ("+", new.keys() - old.keys(), new),
        ("-", old.keys() - new.keys(), old),
    ):
        for stage in sorted((stages[one] for one in ids), key=lambda stage: (stage.key, stage.id)):
            name, build = escape(stage_name(stage)), escape(short_id(stage.build))
            table.add_row(mark, name, build, size(stage.tarball.size_bytes))
    return table
