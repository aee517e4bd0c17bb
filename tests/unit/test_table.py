"""What tables show on terminals of different widths."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console
from rich.table import Table

from orchestrator.display.table import batches_table, builds_table, hosts_table
from tasks.ledger.hosts import Host
from tasks.ledger.records import Record, Summary
from tasks.ledger.stages import LeftOut, Standing
from tasks.model import BuildState

BUILD = "stage3-minimal-20261122-7f3a"
RUNNING = Record(
    id=BUILD,
    job="stage3-minimal",
    queue="x86-64bit.generic_64",
    state=BuildState.RUNNING,
    attempt=1,
    variant="subarch=haswell release=next",
    titles=("source", "pack"),
    host="builder7",
    step=1,
    submitted=10.0,
    claimed=20.0,
)


def shown(table: Table, width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize(
    ("width", "has_bar", "has_variant"), [(72, False, False), (90, True, False), (130, True, True)]
)
def test_ids_are_whole_on_every_terminal(
    width: int,
    has_bar: bool,
    has_variant: bool,
) -> None:
    _title, line = shown(builds_table([RUNNING], now=80.0, width=width), width)
    assert line.startswith(f"{BUILD} ")
    assert "2/2 pack" in line
    assert ("━" in line, "release=next" in line) == (has_bar, has_variant)


def test_what_runs_is_shown_where_there_is_no_room_for_all() -> None:
    ended = [
        Record(id=f"old-{number}", job="j", queue="q", attempt=1, titles=(), state=state)
        for number, state in enumerate([BuildState.SUCCEEDED, BuildState.FAILED] * 4)
    ]
    lines = shown(builds_table([*ended, RUNNING], now=80.0, width=120, room=3), 120)
    assert [line.split()[0] for line in lines] == ["build", BUILD, "old-1", "…"]
    assert lines[-1].strip() == "… and 7 more: 1 running, 4 succeeded, 4 failed"


def test_queues_and_builds_of_hosts_are_whole() -> None:
    queues = ("x86-64bit.generic_64", "x86-64bit.amd64-zen2")
    host = Host(
        name="builder7", incarnation="l", seen=70.0, queues=queues, slots=2, builds=(BUILD,)
    )
    text = "".join("".join(shown(hosts_table([host], 80.0, 90.0), 80)).split())
    for part in (*queues, BUILD):
        assert all(sign in text for sign in part)
    assert "…" not in text


def test_batches_are_counted() -> None:
    counts = {BuildState.BLOCKED: 2, BuildState.SUCCEEDED: 4}
    batch = Summary(batch="n-1", submitted=20.0, counts=counts)
    (_, line) = shown(batches_table([batch], 80.0), 90)
    assert line.split("━")[0].split() == ["n-1", "1m00s", "ago", "2", "blocked,", "4", "succeeded"]
    gone = tuple(LeftOut(stage=name, standing=Standing.UNCHANGED, said="") for name in "ab")
    (_, line) = shown(batches_table([replace(batch, left_out=gone)], 80.0), 120)
    assert "4 succeeded, not built: 2 unchanged" in line
