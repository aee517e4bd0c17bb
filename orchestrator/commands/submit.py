"""`stagefarm submit`: submit a job, or a batch of jobs, to the farm."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.commands.follow import watch
from orchestrator.commands.options import inputs_of, wanted, wanted_options
from tasks.errors import BuildFailed
from tasks.model import BuildState

if TYPE_CHECKING:
    from orchestrator.release.publisher import Publisher
    from tasks.ledger.builds import Ledger
    from tasks.model import Build


@click.command(short_help="Submit a job, or a batch of jobs, to the farm.")
@wanted_options
@click.option(
    "--follow",
    is_flag=True,
    help="Watch until all have ended; fail if one that is not optional did not succeed.",
)
@click.option(
    "--publish",
    "release_file",
    type=click.Path(path_type=Path),
    metavar="RELEASE_FILE",
    help="Watch too, and publish what succeeded once all have ended.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the builds as JSON.")
def submit(
    *,
    specfile: Path | None,
    job: str | None,
    overrides: tuple[str, ...],
    now: str | None,
    batch: Path | None,
    gate: bool,
    follow: bool,
    release_file: Path | None,
    as_json: bool,
) -> int:
    """Render jobs, send them to their queues, and print their builds.

    The current folder is sent along, for hooks that run outside the root filesystem, without what
    .gitignore and .stagefarmignore exclude.

    \b
    Examples:
      stagefarm submit --specfile jobs/stages.yaml --job stage3 --follow
      stagefarm submit --batch jobs/nightly.yaml --follow
      stagefarm submit --batch jobs/nightly.yaml --gate       test each stage, too
      stagefarm submit --batch jobs/nightly.yaml --publish releases/stages.yaml
    """
    from orchestrator.farm.lookup import open_ledger, warn_of_forgetful_redis
    from orchestrator.farm.submit import submit as submit_all
    from tasks.app import app
    from tasks.model import short_id
    from tasks.settings import current

    follow = follow or bool(release_file)
    with inputs_of(batch) as inputs:
        planned = wanted(specfile, job, overrides, now, batch, gate=gate, inputs=inputs)
        publisher = _publisher(release_file) if release_file else None
        ledger = open_ledger()
        warn_of_forgetful_redis(ledger)
        builds = submit_all(planned, ledger=ledger, app=app, settings=current())
    if as_json and not follow:
        click.echo(json.dumps([_described(build) for build in builds], indent=2))
        return 0
    for build in builds:
        said = (
            f"{short_id(build.id)}: submitted"
            if follow
            else f"{short_id(build.id)} in {build.queue}"
        )
        click.echo(f"{said} {build.variant and f'({build.variant})'}".rstrip(), err=as_json)
    ids = [build.id for build in builds]
    if publisher and release_file:
        return _watch_and_publish(publisher, release_file, ledger, ids, as_json=as_json)
    if follow:
        watch(ledger, ids, as_json=as_json)
    return 0


def _publisher(file: Path) -> Publisher:
    """Opened before anything is submitted, so that a mistake in the file is told at once."""
    from orchestrator.commands.publish import say
    from orchestrator.release.setup import publisher_of
    from tasks.reporting import Silent
    from tasks.settings import current

    return publisher_of(file, current(), Silent(), say)


def _watch_and_publish(
    publisher: Publisher, file: Path, ledger: Ledger, builds: Sequence[str], *, as_json: bool
) -> int:
    """Publish those of `builds` that succeed; `BuildFailed` afterwards if one that is not optional
    did not."""
    from orchestrator.commands.publish import publish_builds, show
    from orchestrator.display.terminal import bars

    failed: BuildFailed | None = None
    try:
        watch(ledger, builds, as_json=as_json)
    except BuildFailed as error:
        failed = error
    records = ledger.records(builds)
    done = [record.id for record in records if record.state is BuildState.SUCCEEDED]
    code = 0
    if done:
        with bars() as report:
            outcome = publish_builds(replace(publisher, report=report), done)
        code = show(outcome, file, stderr=as_json)
    if failed:
        raise failed
    return code


def _described(build: Build) -> dict[str, str]:
    return {
        "id": build.id,
        "job": build.job,
        "queue": build.queue,
        "batch": build.batch,
        "variant": build.variant,
    }
