"""`stagefarm publish`: publish stages as a release file says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.commands.names import complete_build

if TYPE_CHECKING:
    from orchestrator.release.catalog import Catalog
    from orchestrator.release.publisher import Outcome, Publisher
    from orchestrator.release.taking import Candidate, Taken


@click.command(short_help="Publish stages as a release file says.")
@click.argument("file", metavar="RELEASE_FILE", type=click.Path(path_type=Path))
@click.argument("names", nargs=-1, metavar="[BUILD|BATCH]...", shell_complete=complete_build)
@click.option(
    "--dry-run", is_flag=True, help="Print what would be published and removed; write nothing."
)
@click.option(
    "--store-only",
    is_flag=True,
    help="Do not ask Redis: take the builds and batches named from the store, by their whole ids.",
)
@click.option(
    "--verify-all", is_flag=True, help="Fetch every file through the public URL, not only new ones."
)
@click.option(
    "--recover",
    is_flag=True,
    help="Go on from a mirror that shows an older generation than was published, such as a backup.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def publish(
    *,
    file: Path,
    names: tuple[str, ...],
    dry_run: bool,
    store_only: bool,
    verify_all: bool,
    recover: bool,
    as_json: bool,
) -> int:
    """Publish the newest builds of a release, or those named. Each is taken only if its submitter
    and its host have signed it and this machine trusts both. The new generation is written and
    verified through its public URL before the pointer moves to it: readers see the one before, or
    the new one, whole.

    \b
    Examples:
      stagefarm publish releases/stages.yaml
      stagefarm publish releases/stages.yaml nightly-20261122-7f3a9c0e
      stagefarm publish releases/stages.yaml --dry-run
    """
    from orchestrator.display.terminal import bars
    from orchestrator.release.setup import publisher_of
    from tasks.errors import BadInput
    from tasks.settings import current

    if store_only and not names:
        raise BadInput("--store-only takes the builds that are named", "name a build or a batch")
    with bars() as report:
        publisher = publisher_of(
            file,
            current(),
            report,
            say,
            verify_all=verify_all,
            recover=recover,
            dry_run=dry_run,
            with_ledger=not store_only,
        )
        taken = wanted(publisher, names, store_only=store_only)
        outcome = publisher.publish(taken)
    return show(outcome, dry_run=dry_run, as_json=as_json)


def publish_builds(publisher: Publisher, names: Sequence[str]) -> Outcome:
    """Publish builds of the ledger."""
    return publisher.publish(wanted(publisher, names, store_only=False))


def wanted(publisher: Publisher, names: Sequence[str], *, store_only: bool) -> Taken:
    """The stages to publish: those named, or what the ledger has that is new."""
    from orchestrator.release.taking import take
    from tasks.settings import current
    from tasks.trust.policy import trust_of

    trust = trust_of(current())
    if not trust.required:
        say('trust = "redis": what is published was not verified by signatures')
    found = _named(publisher, names, store_only=store_only) if names else _new(publisher)
    taken = take(found, publisher.release, trust)
    for build, error in taken.refused:
        say(f"{build} is not published: {error}")
    if names and not taken.stages and taken.refused:
        raise taken.refused[0][1]
    return taken


def _named(publisher: Publisher, names: Sequence[str], *, store_only: bool) -> list[Candidate]:
    from orchestrator.farm.lookup import builds_named, open_ledger
    from orchestrator.release.taking import candidates_of
    from tasks.errors import BadInput
    from tasks.model import BuildState
    from tasks.settings import current

    if store_only:
        return [one for name in names for one in publisher.store.candidates(name)]
    ledger = open_ledger(reading=True)
    records = ledger.records(builds_named(ledger, names))
    done = [record for record in records if record.state is BuildState.SUCCEEDED]
    if not done:
        raise BadInput(f"no build of {', '.join(names)} has succeeded", "stagefarm status")
    return candidates_of(done, current())


def _new(publisher: Publisher) -> list[Candidate]:
    from orchestrator.farm.lookup import open_ledger
    from orchestrator.release.taking import candidates_in
    from tasks.settings import current

    ledger, catalog = open_ledger(reading=True), publisher.current()
    known = {(stage.build, stage.attempt) for stage in catalog.stages} if catalog else set()
    withdrawn = set(catalog.withdrawn) if catalog else set()
    return candidates_in(
        ledger.records(ledger.builds(0)),
        publisher.release,
        current(),
        lambda build, attempt: (build, attempt) in known or build in withdrawn,
    )


def show(
    outcome: Outcome, *, dry_run: bool = False, as_json: bool = False, stderr: bool = False
) -> int:
    """Print what was published; returns the exit code: that of the first mirror that failed."""
    import json

    for label, error in outcome.failed.items():
        say(f"{label}: {error}" + (f"; {error.hint}" if error.hint else ""))
    if as_json:
        click.echo(json.dumps(as_values(outcome, dry_run=dry_run), indent=2))
    else:
        _print(outcome, dry_run=dry_run, stderr=stderr)
    return next((error.exit_code for error in outcome.failed.values()), 0)


def as_values(outcome: Outcome, *, dry_run: bool = False) -> dict[str, Any]:
    catalog = outcome.catalog
    return {
        "release": catalog.release,
        "channel": catalog.channel,
        "version": catalog.version,
        "new": outcome.new,
        "dry_run": dry_run,
        "catalog": catalog.sha256,
        "stages": len(catalog.stages),
        "published": list(outcome.published),
        "failed": {label: str(error) for label, error in outcome.failed.items()},
        "written_bytes": outcome.written_bytes,
        "removed": list(outcome.removed),
        "pushed": outcome.pushed,
    }


def _print(outcome: Outcome, *, dry_run: bool, stderr: bool) -> None:
    from orchestrator.display.table import console
    from orchestrator.display.terminal import size
    from orchestrator.release.tables import changes_table

    catalog, screen = outcome.catalog, console(stderr=stderr)
    for url, tags in outcome.pushed.items():
        click.echo(f"{url}: {len(tags)} tag{'s' * (len(tags) != 1)} pushed", err=stderr)
    if not outcome.new:
        click.echo(
            f"{catalog.channel} is at generation {catalog.version}: nothing is new", err=stderr
        )
        return
    screen.print(changes_table(outcome))
    would = "would be published" if dry_run else "published"
    for label in outcome.published:
        said = f"generation {catalog.version} of {catalog.channel}, {_count(catalog)}"
        amount = f"{size(outcome.written_bytes)} written"
        click.echo(f"{label}: {said}: {would}, {amount}", err=stderr)
    if outcome.removed:
        removed = "would be removed" if dry_run else "removed"
        said = f"{len(outcome.removed)} files that no generation names any more: {removed}"
        click.echo(said, err=stderr)
        for path in outcome.removed if dry_run else ():
            click.echo(f"  {path}", err=stderr)


def _count(catalog: Catalog) -> str:
    return f"{len(catalog.stages)} stage{'s' * (len(catalog.stages) != 1)}"


def say(text: str) -> None:
    from orchestrator.display.printable import plain
    from orchestrator.farm.lookup import warn

    warn(plain(text))
