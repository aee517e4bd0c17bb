"""`stagefarm publish`: publish stages as a release file says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.commands.names import complete_build

if TYPE_CHECKING:
    from orchestrator.release.catalog import Catalog
    from orchestrator.release.gating import Gate
    from orchestrator.release.publication import Outcome
    from orchestrator.release.publisher import Publisher
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
    the new one, whole. Where the release file names a gate, stages that it holds are left out: the
    exit code is 8 then, the rest is published all the same.

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
        outcome = publish_taken(publisher, taken, with_ledger=not store_only)
    return show(outcome, file, dry_run=dry_run, as_json=as_json, named=bool(names))


def publish_builds(publisher: Publisher, names: Sequence[str]) -> Outcome:
    """Publish builds of the ledger."""
    return publish_taken(publisher, wanted(publisher, names, store_only=False), with_ledger=True)


def publish_taken(publisher: Publisher, taken: Taken, *, with_ledger: bool) -> Outcome:
    """Publish, and tell people and the farm what the gate holds."""
    from orchestrator.farm.hold_hints import note_holds

    outcome = publisher.publish(taken)
    for build, error in outcome.taken.refused[len(taken.refused) :]:
        say(f"{build} is not published: {error}")
    if publisher.gate and not publisher.dry_run:
        if with_ledger:
            note_holds(outcome.taken.held, outcome.ended)
        _tell(publisher.gate, publisher.clock())
    return outcome


def _tell(gate: Gate, now: float) -> None:
    """Tell people of holds; what goes wrong with that does not fail the publication."""
    from tasks.errors import StagefarmError

    try:
        for problem in gate.tell(now):
            say(problem)
    except StagefarmError as error:
        say(f"nobody was told of holds: {error}")


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
    away = set(catalog.withdrawn) if catalog else set()
    held: set[str] = set()
    if publisher.gate:
        noted = publisher.gate.holds.noted()
        away |= set(noted.superseded)
        held = {hold.build for hold in noted.holds}
    return candidates_in(
        ledger.records(ledger.builds(0)),
        publisher.release,
        current(),
        lambda build, attempt: (build, attempt) in known or build in away,
        held - away,
    )


def show(
    outcome: Outcome,
    file: Path,
    *,
    dry_run: bool = False,
    as_json: bool = False,
    stderr: bool = False,
    named: bool = False,
) -> int:
    """Print what was published; returns the exit code: that of the first mirror that failed, of the
    first build that was refused if `named` builds were and no stage is left, or 8 if one is
    held."""
    import json

    from tasks.errors import Held

    for label, error in outcome.failed.items():
        say(f"{label}: {error}" + (f"; {error.hint}" if error.hint else ""))
    if as_json:
        click.echo(json.dumps(as_values(outcome, dry_run=dry_run), indent=2))
    else:
        _print(outcome, file, dry_run=dry_run, stderr=stderr)
    taken = outcome.taken
    errors = [*outcome.failed.values()]
    errors += [error for _, error in taken.refused if named and not taken.stages]
    codes = [Held.exit_code] if taken.held else []
    return next(iter([*(error.exit_code for error in errors), *codes]), 0)


def as_values(outcome: Outcome, *, dry_run: bool = False) -> dict[str, Any]:
    from orchestrator.gate.tables import hold_values

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
        "held": [hold_values(hold) for hold in outcome.taken.held],
    }


def _print(outcome: Outcome, file: Path, *, dry_run: bool, stderr: bool) -> None:
    from orchestrator.display.table import console
    from orchestrator.display.terminal import size
    from orchestrator.gate.tables import print_held
    from orchestrator.release.tables import changes_table

    catalog, screen = outcome.catalog, console(stderr=stderr)
    print_held(screen, outcome.taken.held, file)
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
