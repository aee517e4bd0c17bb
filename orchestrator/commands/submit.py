"""`stagefarm submit`: put a job, or a batch of jobs, on the farm."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.commands.options import complete_job, now_option, override_option
from tasks.errors import BadInput, BuildFailed

if TYPE_CHECKING:
    from tasks.ledger import Ledger
    from tasks.model import Build


WIDE = 400
"""Columns where no terminal limits them: a program reads whole lines."""


@click.command(short_help="Put a job, or a batch of jobs, on the farm.")
@click.option(
    "--specfile", type=click.Path(path_type=Path), metavar="FILE", help="The job's specfile."
)
@click.option("--job", metavar="NAME", shell_complete=complete_job, help="The job of the specfile.")
@override_option
@now_option
@click.option(
    "--batch",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A batch of jobs instead of one.",
)
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

    wanted = _wanted(specfile, job, overrides, now, batch)
    ledger = open_ledger()
    warn_of_forgetful_redis(ledger)
    builds = put_on_farm(wanted, ledger=ledger, app=app, settings=current())
    if as_json and not follow:
        click.echo(json.dumps([_described(build) for build in builds], indent=2))
        return
    for build in builds:
        click.echo(
            f"{build.id} in {build.queue}" if not follow else f"{build.id}: submitted", err=as_json
        )
    if follow:
        _follow(ledger, builds, as_json=as_json)


def _wanted(
    specfile: Path | None,
    job: str | None,
    overrides: tuple[str, ...],
    now: str | None,
    batch: Path | None,
) -> Sequence[Build]:
    from orchestrator.plan import PlanOptions
    from orchestrator.prepare import moment, parse_overrides, render_and_plan

    when, options = moment(now, os.environ), parse_overrides(overrides)
    if batch:
        if specfile or job:
            raise BadInput(
                "--batch names its own specfiles and jobs", "leave --specfile and --job out"
            )
        from orchestrator.batch_plan import plan_batch

        return plan_batch(batch, overrides=options, now=when)
    if not specfile or not job:
        raise BadInput("nothing to submit", "give --specfile FILE --job NAME, or --batch FILE")
    plan = PlanOptions(farm=True)
    return [render_and_plan(specfile, job, overrides=options, now=when, options=plan)]


def _described(build: Build) -> dict[str, str]:
    return {"id": build.id, "job": build.job, "queue": build.queue, "batch": build.batch}


def _follow(ledger: Ledger, builds: Sequence[Build], *, as_json: bool) -> None:
    from rich.console import Console

    from orchestrator.follow import failed, follow
    from orchestrator.table import artifacts_table, as_values

    console = Console(stderr=as_json, width=None if sys.stdout.isatty() else WIDE)
    try:
        records = follow(ledger, [build.id for build in builds], console)
    except KeyboardInterrupt:
        names = " ".join(build.batch or build.id for build in builds[:1])
        click.echo(f"\nthe farm builds on; to stop it: stagefarm cancel {names}", err=True)
        raise
    if as_json:
        click.echo(json.dumps([as_values(record) for record in records], indent=2))
    else:
        console.print(artifacts_table(records))
    if bad := failed(records):
        reasons = "\n".join(f"  {record.id}: {record.reason or record.state}" for record in bad)
        raise BuildFailed(
            f"{len(bad)} of {len(records)} builds did not succeed:\n{reasons}",
            f"stagefarm logs {bad[0].id}",
        )
