"""`stagefarm follow`: watch builds until they have ended; `submit` and `retry` can do it too."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from orchestrator.commands.names import complete_name
from tasks.errors import BuildFailed
from tasks.model import short_id

if TYPE_CHECKING:
    from tasks.ledger.builds import Ledger
    from tasks.ledger.records import Record

NEWEST = 1000


@click.command(short_help="Watch builds until they have ended.")
@click.argument("names", nargs=-1, metavar="[BUILD|BATCH]...", shell_complete=complete_name)
@click.option("--json", "as_json", is_flag=True, help="Print the ended builds as JSON.")
def follow(*, names: tuple[str, ...], as_json: bool) -> None:
    """Watch builds and batches until all have ended; without a name, all that have not ended yet.
    Fails if one that is not optional did not succeed. Ctrl-C does not stop the builds.

    \b
    Examples:
      stagefarm follow
      stagefarm follow nightly-20261122-7f3a9c0e
    """
    from orchestrator.farm.lookup import builds_named, open_ledger

    ledger = open_ledger(reading=True)
    if builds := builds_named(ledger, names) if names else _open(ledger):
        watch(ledger, builds, as_json=as_json)
    else:
        click.echo("[]" if as_json else "no builds are running or waiting")


def _open(ledger: Ledger) -> list[str]:
    """The builds that have not ended, in the order of submission."""
    records = ledger.records(reversed(ledger.builds(NEWEST)))
    return [record.id for record in records if not record.state.ended]


def watch(ledger: Ledger, builds: Sequence[str], *, as_json: bool) -> None:
    """Show `builds` until all have ended, then their artifacts; `BuildFailed` if one that is not
    optional did not succeed."""
    from orchestrator.display.follow import failed
    from orchestrator.display.follow import follow as until_ended
    from orchestrator.display.table import artifacts_table, as_values, console

    screen = console(stderr=as_json)
    try:
        records = until_ended(ledger, builds, screen)
    except KeyboardInterrupt:
        name = _common_name(ledger.records(builds))
        click.echo(
            f"\nthe builds continue; to stop them: stagefarm cancel {name}; "
            f"to watch them again: stagefarm follow {name}",
            err=True,
        )
        raise
    if as_json:
        click.echo(json.dumps([as_values(record) for record in records], indent=2))
    elif any(record.artifacts for record in records):
        screen.print(artifacts_table(records))
    if bad := failed(records):
        raise BuildFailed(
            _reasons(bad, len(records)), f"stagefarm logs {short_id(_first_cause(bad).id)}"
        )


def _common_name(records: Sequence[Record]) -> str:
    """A name for all of them on a command line: their batch, if they have one."""
    batches = {record.batch for record in records}
    return batches.pop() if len(batches) == 1 and all(batches) else records[0].id


def _reasons(bad: Sequence[Record], count: int) -> str:
    from orchestrator.display.cause import described

    lines = []
    for record in bad:
        lines.append(f"  {short_id(record.id)}: {record.reason or record.cancel or record.state}")
        lines += [f"    {described(record.cause)}"] if record.cause else []
    return "\n".join([f"{len(bad)} of {count} builds did not succeed:", *lines])


def _first_cause(bad: Sequence[Record]) -> Record:
    """A build that failed itself, rather than one that was cancelled because of it."""
    return next((record for record in bad if record.reason), bad[0])
