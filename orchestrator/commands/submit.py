"""`stagefarm submit`: submit a job, or a batch of jobs, to the farm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.commands.follow import watch
from orchestrator.commands.options import wanted, wanted_options

if TYPE_CHECKING:
    from tasks.model import Build


@click.command(short_help="Submit a job, or a batch of jobs, to the farm.")
@wanted_options
@click.option(
    "--follow",
    is_flag=True,
    help="Watch until all have ended; fail if one that is not optional did not succeed.",
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

    The current folder is sent along, for hooks that run outside the root filesystem, without what
    .gitignore and .stagefarmignore exclude.

    \b
    Examples:
      stagefarm submit --specfile jobs/stages.yaml --job stage3 --follow
      stagefarm submit --batch jobs/nightly.yaml --follow
    """
    from orchestrator.farm.lookup import open_ledger, warn_of_forgetful_redis
    from orchestrator.farm.submit import submit as submit_all
    from tasks.app import app
    from tasks.model import short_id
    from tasks.settings import current

    planned = wanted(specfile, job, overrides, now, batch)
    ledger = open_ledger()
    warn_of_forgetful_redis(ledger)
    builds = submit_all(planned, ledger=ledger, app=app, settings=current())
    if as_json and not follow:
        click.echo(json.dumps([_described(build) for build in builds], indent=2))
        return
    for build in builds:
        said = (
            f"{short_id(build.id)}: submitted"
            if follow
            else f"{short_id(build.id)} in {build.queue}"
        )
        click.echo(f"{said} {build.variant and f'({build.variant})'}".rstrip(), err=as_json)
    if follow:
        watch(ledger, [build.id for build in builds], as_json=as_json)


def _described(build: Build) -> dict[str, str]:
    return {
        "id": build.id,
        "job": build.job,
        "queue": build.queue,
        "batch": build.batch,
        "variant": build.variant,
    }
