"""`stagefarm diagnose job`: show a job with its templates rendered."""

from __future__ import annotations

import os
from pathlib import Path

import click

from orchestrator.commands.options import AliasedGroup, job_options, mark_devkit_options


@click.group(
    cls=AliasedGroup, aliases={"j": "job"}, short_help="Show a job as its templates render it."
)
@mark_devkit_options(hidden=True)
def diagnose() -> None:
    """Show a specfile and its hook files with their templates rendered."""


@diagnose.command("job")
@job_options
@mark_devkit_options(hidden=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of YAML.")
@click.option("--quiet", is_flag=True, help="Print nothing but the job.")
def job_command(
    specfile: Path,
    job: str,
    overrides: tuple[str, ...],
    now: str | None,
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    """Print a job and its hooks with every template rendered, as mark-devkit does.

    \b
    Example:
      stagefarm diagnose job --specfile jobs/stages.yaml --job stage3 -o subarch=haswell
    """
    from orchestrator.formats.spec import load_specfile
    from orchestrator.planning import diagnose as shapes
    from orchestrator.planning.prepare import here, moment, parse_overrides
    from orchestrator.planning.render import render_job

    if not quiet:
        click.echo(f"Loading specfile {specfile}", err=True)
    rendered = render_job(
        load_specfile(specfile),
        job,
        overrides=parse_overrides(overrides),
        now=moment(now, os.environ),
        folder=here(),
    )
    click.echo(shapes.as_json(rendered) if as_json else shapes.as_yaml(rendered).rstrip())
