"""`stagefarm report`: a static site about the stages of a farm."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from orchestrator.report.site import Report
    from tasks.ledger.builds import Ledger


@click.command(short_help="Write a web site about stages and builds.")
@click.argument(
    "files", metavar="RELEASE_FILE...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--to",
    "folder",
    metavar="FOLDER",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder of the site, new or of an earlier report; serve it beside the mirror.",
)
@click.option(
    "--builds",
    type=click.IntRange(1),
    help="Pages for so many newest builds; older ones are removed. Default: `report_builds`.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def report(*, files: tuple[Path, ...], folder: Path, builds: int | None, as_json: bool) -> None:
    """Write a static site: the stages of the releases, coloured by the age of what users can
    download against `max_age` in the release file, with their builds, logs and hosts. Only pages
    are written whose content has changed. Where Redis does not answer, what is published is shown
    all the same, and builds as the last report saw them.

    \b
    Example:
      stagefarm report releases/stages.yaml --to /srv/mirror/report
    """
    from orchestrator.commands.publish import say
    from orchestrator.report.published import sources_of
    from orchestrator.report.site import write_site
    from tasks.settings import current

    settings = current()
    sources = sources_of(files, settings, say)
    ledger = reachable_ledger("builds are shown as the last report saw them")
    made = write_site(
        sources,
        ledger,
        folder,
        settings,
        now=time.time(),
        builds_max=builds or settings.report_builds,
    )
    click.echo(json.dumps(_values(made), indent=2) if as_json else _sentence(made))


def reachable_ledger(without: str) -> Ledger | None:
    """The farm's ledger; None if its Redis does not answer, with a warning that says how it goes
    on without."""
    from orchestrator.commands.publish import say
    from orchestrator.farm.lookup import open_ledger
    from tasks.errors import FarmUnreachable

    try:
        return open_ledger(reading=True)
    except FarmUnreachable as error:
        say(f"{error}; {without}")
        return None


def _values(made: Report) -> dict[str, object]:
    return {
        "folder": str(made.folder),
        "stages": made.stages,
        "builds": made.builds,
        "freshness": dict(made.counts),
        "written": made.written,
        "written_bytes": made.written_bytes,
        "removed": made.removed,
        "farm_is_current": made.farm_is_current,
    }


def _sentence(made: Report) -> str:
    from orchestrator.display.terminal import size

    states = ", ".join(f"{count} {name}" for name, count in sorted(made.counts.items()))
    stages = f"{_count(made.stages, 'stage')}{f' ({states})' if states else ''}"
    wrote = f"{_count(made.written, 'page')} written ({size(made.written_bytes)})"
    return f"{made.folder}: {stages}, {wrote}, {made.removed} removed"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
