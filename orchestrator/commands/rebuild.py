"""`stagefarm rebuild`: prove that a build can be done again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.commands.names import complete_build
from tasks.errors import BuildFailed

if TYPE_CHECKING:
    from tasks.ledger.builds import Ledger
    from tasks.ledger.records import Record


@click.command(short_help="Build a build once more, and compare.")
@click.argument("build", shell_complete=complete_build)
@click.option(
    "--ignore-times", is_flag=True, help="Leave out files of which only the time differs."
)
@click.option("--all", "show_all", is_flag=True, help="Show every file that differs.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for a program.")
def rebuild(*, build: str, ignore_times: bool, show_all: bool, as_json: bool) -> int:
    """Build BUILD once more from the same rendered job and the same seed, and show what differs,
    file by file. Exits with 1 if something does.

    Files that the hooks touch have other times each time, unless SOURCE_DATE_EPOCH was set as
    BUILD was submitted, or is a variable of its job.

    \b
    Example:
      stagefarm rebuild stage3-20261122-7f3a
    """
    import msgspec

    from orchestrator.commands.artifacts import SHOWN, show
    from orchestrator.display.terminal import bars
    from orchestrator.farm.lookup import one_build, open_ledger
    from orchestrator.farm.rebuild import differences
    from orchestrator.farm.rebuild import rebuild as build_once_more
    from tasks.app import app

    ledger = open_ledger()
    before = ledger.record(one_build(ledger, build))
    made = build_once_more(before, ledger=ledger, app=app)
    click.echo(f"{made.id}: builds {before.id} once more", err=True)
    after = _followed(ledger, made.id)
    with bars() as report:
        found = differences(before, after, report, times=not ignore_times)
    if as_json:
        about = {"build": before.id, "rebuild": made.id, "differences": found}
        click.echo(msgspec.json.format(msgspec.json.encode(about)).decode())
    else:
        for name, difference in found.items():
            click.echo(f"{name}: {'the same' if difference.is_empty else 'not the same'}")
            if not difference.is_empty:
                show(difference, limit=None if show_all else SHOWN)
    return 0 if all(difference.is_empty for difference in found.values()) else 1


def _followed(ledger: Ledger, build: str) -> Record:
    from rich.console import Console

    from orchestrator.display.follow import failed, follow

    records = follow(ledger, [build], Console(stderr=True))
    if failed(records):
        raise BuildFailed(
            f"{build} did not succeed: {records[0].reason or records[0].state}",
            f"stagefarm logs {build}",
        )
    return records[0]
