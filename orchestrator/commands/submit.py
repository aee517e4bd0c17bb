"""`stagefarm submit`: put a job, or a batch of jobs, on the farm."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.commands.options import wanted, wanted_options
from tasks.errors import BuildFailed

if TYPE_CHECKING:
    from tasks.ledger import Ledger
    from tasks.model import Build


@click.command(short_help="Put a job, or a batch of jobs, on the farm.")
@wanted_options
@click.option(
    "--follow", is_flag=True, help="Watch until all have ended; fail if one that counts did."
)
@click.option("--json", "as_json", is_flag=True, help="Print the builds as JSON.")
def submit(
    *,
    specfile: Path | None,
    job: str | None,
    overrides: tuple[str, ...],
    now: str | None,
    batch: Path | None,
    follow: bool,
    as_json: bool,
) -> None:
    """Render jobs, send them to their queues, and print their builds.

    The folder you are in goes along, for hooks that run outside of the root filesystem; what
    .gitignore and .stagefarmignore name stays here.

    \b
    Examples:
      stagefarm submit --specfile jobs/stages.yaml --job stage3 --follow
      stagefarm submit --batch jobs/nightly.yaml --follow
    """
    from orchestrator.farm import open_ledger, warn_of_forgetful_redis
    from orchestrator.submit import submit as put_on_farm
    from tasks.app import app
    from tasks.settings import current

    planned = wanted(specfile, job, overrides, now, batch)
    ledger = open_ledger()
    warn_of_forgetful_redis(ledger)
    builds = put_on_farm(planned, ledger=ledger, app=app, settings=current())
    if as_json and not follow:
        click.echo(json.dumps([_described(build) for build in builds], indent=2))
        return
    for build in builds:
        said = f"{build.id}: submitted" if follow else f"{build.id} in {build.queue}"
        click.echo(f"{said} {build.variant and f'({build.variant})'}".rstrip(), err=as_json)
    if follow:
        _follow(ledger, builds, as_json=as_json)


def _described(build: Build) -> dict[str, str]:
    return {
        "id": build.id,
        "job": build.job,
        "queue": build.queue,
        "batch": build.batch,
        "variant": build.variant,
    }


def _follow(ledger: Ledger, builds: Sequence[Build], *, as_json: bool) -> None:
    from orchestrator.follow import failed, follow
    from orchestrator.table import artifacts_table, as_values, console

    screen = console(stderr=as_json)
    try:
        records = follow(ledger, [build.id for build in builds], screen)
    except KeyboardInterrupt:
        names = " ".join(build.batch or build.id for build in builds[:1])
        click.echo(f"\nthe farm builds on; to stop it: stagefarm cancel {names}", err=True)
        raise
    if as_json:
        click.echo(json.dumps([as_values(record) for record in records], indent=2))
    else:
        screen.print(artifacts_table(records))
    if bad := failed(records):
        reasons = "\n".join(f"  {record.id}: {record.reason or record.state}" for record in bad)
        raise BuildFailed(
            f"{len(bad)} of {len(records)} builds did not succeed:\n{reasons}",
            f"stagefarm logs {bad[0].id}",
        )
