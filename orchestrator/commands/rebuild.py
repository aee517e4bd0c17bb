"""`stagefarm rebuild`: check that a build is reproducible."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.commands.names import complete_build
from tasks.errors import BuildFailed

if TYPE_CHECKING:
    from orchestrator.farm.rebuild import Recorded
    from tasks.ledger.builds import Ledger
    from tasks.ledger.records import Record
    from tasks.settings import Settings


@click.command(short_help="Repeat a build and compare the results.")
@click.argument("build", shell_complete=complete_build)
@click.option("--other-host", is_flag=True, help="On another host than the one that built it.")
@click.option("--ignore-times", is_flag=True, help="Omit files that differ only in their times.")
@click.option("--all", "show_all", is_flag=True, help="Show every file that differs.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for a program.")
def rebuild(
    *, build: str, other_host: bool, ignore_times: bool, show_all: bool, as_json: bool
) -> int:
    """Repeat BUILD from the same rendered job and the same seed, and show what differs, file by
    file. Exits with 1 if anything differs.

    Files that the hooks touch get new times in each build, unless SOURCE_DATE_EPOCH was set when
    BUILD was submitted, or is a variable of its job.

    What the host has signed is put beside the original in the store, and published with it:
    `stagefarm lineage` shows what was reproduced, and where.

    \b
    Examples:
      stagefarm rebuild stage3-20261122-7f3a9c0e
      stagefarm rebuild stage3-20261122-7f3a9c0e --other-host
    """
    import msgspec

    from orchestrator.commands.artifacts import SHOWN, show
    from orchestrator.display.terminal import bars
    from orchestrator.farm.lookup import one_build, open_ledger
    from orchestrator.farm.rebuild import differences
    from orchestrator.farm.rebuild import rebuild as submit_again
    from tasks.app import app
    from tasks.settings import current

    ledger = open_ledger()
    before = ledger.record(one_build(ledger, build))
    settings = current()
    made = submit_again(before, ledger=ledger, app=app, settings=settings, other_host=other_host)
    click.echo(f"{made.id}: rebuilds {before.id}", err=True)
    after = _followed(ledger, made.id)
    with bars() as report:
        found = differences(before, after, settings, report, times=not ignore_times)
    recorded = _recorded(before, after, settings)
    if as_json:
        about = {
            "build": before.id,
            "rebuild": made.id,
            "differences": found,
            "recorded": [one.url for one in recorded],
            "independent": bool(recorded) and all(one.is_independent for one in recorded),
        }
        click.echo(msgspec.json.format(msgspec.json.encode(about)).decode())
    else:
        for name, difference in found.items():
            click.echo(f"{name}: {'identical' if difference.is_empty else 'differs'}")
            if not difference.is_empty:
                show(difference, limit=None if show_all else SHOWN)
    return 0 if all(difference.is_empty for difference in found.values()) else 1


def _recorded(before: Record, after: Record, settings: Settings) -> list[Recorded]:
    """Record the rebuild; that the store does not take it is no failure of the comparison."""
    from orchestrator.farm.lookup import warn
    from orchestrator.farm.rebuild import record_results
    from tasks.errors import StagefarmError

    try:
        found = record_results(before, after, settings)
    except StagefarmError as error:
        warn(f"the rebuild is not recorded: {error}")
        return []
    for one in found:
        if one.is_independent:
            click.echo(f"{one.tarball}: reproduced by {after.host}, recorded", err=True)
    return found


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
