"""`stagefarm freshness`: the age of stages against their contracts, and what comes next."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from tasks.errors import BadInput


@click.command(short_help="Show the age of stages against their contracts.")
@click.argument("files", metavar="[RELEASE_FILE]...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--check", is_flag=True, help="Exit with 1 if a stage is older than its max_age.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for a program.")
def freshness(*, files: tuple[Path, ...], check: bool, as_json: bool) -> int:
    """Show every stage of the releases, by default of those in `release_dir`: the age of what users
    can download, its contract (`max_age`), for how long a new build can still wait (slack), and its
    next chance: the build that runs or waits, or the night that is due. The least slack is first.

    \b
    Examples:
      stagefarm freshness
      stagefarm freshness releases/stages.yaml --check
    """
    from orchestrator.commands.publish import say
    from orchestrator.commands.report import reachable_ledger
    from orchestrator.display.table import console
    from orchestrator.report.chances import read_aged
    from orchestrator.report.freshness_table import as_values, freshness_table
    from orchestrator.report.published import sources_of
    from tasks.settings import current

    settings = current()
    wanted = files or tuple(sorted(Path(settings.release_dir).glob("*.yaml")))
    if not wanted:
        raise BadInput(f"{settings.release_dir} has no release file", "name one")
    ledger = reachable_ledger("what comes next is not known")
    now = ledger.now() if ledger else time.time()
    stages = read_aged(sources_of(wanted, settings, say), ledger, now)
    if as_json:
        click.echo(json.dumps([as_values(one, now) for one in stages], indent=2))
    else:
        console().print(freshness_table(stages, now))
    return int(check and any(one.is_broken for one in stages))
