"""Options that several commands share: which specfile, which job, with which options, at what
moment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from tasks.errors import StagefarmError

F = TypeVar("F", bound=Callable[..., Any])


def complete_job(ctx: click.Context, _param: click.Parameter, start: str) -> list[CompletionItem]:
    """Names of the jobs of the `--specfile` given before, for the shell."""
    from orchestrator.spec import load_specfile

    file = ctx.params.get("specfile")
    try:
        jobs = load_specfile(Path(file)).value.jobs if file else ()
    except StagefarmError:
        return []
    return [CompletionItem(job.name) for job in jobs if job.name.startswith(start)]


specfile_option = click.option(
    "--specfile",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="The specfile of the job.",
)
job_option = click.option(
    "--job",
    required=True,
    metavar="NAME",
    shell_complete=complete_job,
    help="The job of the specfile.",
)
override_option = click.option(
    "-o",
    "--option",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set an option of the job; typed as in YAML, a.b=1 reaches into mappings. Repeatable.",
)
now_option = click.option(
    "--now",
    metavar="TIME",
    help="What `now` is in templates: a date, date and time, or @seconds. "
    "Default: $SOURCE_DATE_EPOCH, then the present.",
)


def job_options(command: F) -> F:
    """`--specfile`, `--job`, `-o` and `--now`, as parameters specfile, job, overrides and now."""
    for option in (now_option, override_option, job_option, specfile_option):
        command = option(command)
    return command
