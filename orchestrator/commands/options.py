"""Options that several commands share: the specfile, the job, its options, the time."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from tasks.errors import BadInput, StagefarmError

if TYPE_CHECKING:
    from orchestrator.inputs.freezing import Frozen
    from tasks.model import Build

F = TypeVar("F", bound=Callable[..., Any])


def complete_job(ctx: click.Context, _param: click.Parameter, start: str) -> list[CompletionItem]:
    """Shell completion: the jobs of the `--specfile` given so far."""
    from orchestrator.formats.spec import load_specfile

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
    help="Set an option of the job, typed as in YAML; a.b=1 sets b in mapping a. Repeatable.",
)
now_option = click.option(
    "--now",
    metavar="TIME",
    help="The value of `now` in templates: a date, date and time, or @seconds. "
    "Default: $SOURCE_DATE_EPOCH, else the current time.",
)


class AliasedGroup(click.Group):
    """A group whose commands also have mark-devkit's short names."""

    def __init__(self, *args: Any, aliases: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.aliases = aliases

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, self.aliases.get(cmd_name, cmd_name))


def mark_devkit_options(*, hidden: bool = False) -> Callable[[F], F]:
    """`--config` and `--debug`, which mark-devkit takes before and after any of its commands."""

    def add(command: F) -> F:
        for option in (
            click.option(
                "-d",
                "--debug",
                is_flag=True,
                hidden=hidden,
                expose_value=False,
                help="Accepted for mark-devkit's sake; has no effect.",
            ),
            click.option(
                "-c",
                "--config",
                type=click.Path(exists=True, dir_okay=False),
                hidden=hidden,
                expose_value=False,
                help="A mark-devkit configuration file; accepted, has no effect.",
            ),
        ):
            command = option(command)
        return command

    return add


gate_option = click.option(
    "--gate",
    is_flag=True,
    help="Test each stage once it is packed, unless its job says `gate: false`.",
)


def job_options(command: F) -> F:
    """`--specfile`, `--job`, `-o` and `--now`, as parameters specfile, job, overrides and now."""
    for option in (now_option, override_option, job_option, specfile_option):
        command = option(command)
    return command


def wanted_options(command: F) -> F:
    """One job, or a batch of jobs: the parameters of `wanted`."""
    for option in (
        gate_option,
        click.option(
            "--batch",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Take a batch of jobs instead of one job.",
        ),
        now_option,
        override_option,
        click.option(
            "--job", metavar="NAME", shell_complete=complete_job, help="The job of the specfile."
        ),
        click.option(
            "--specfile",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="The specfile of the job.",
        ),
    ):
        command = option(command)
    return command


def inputs_of(batch: Path | None) -> AbstractContextManager[Frozen | None]:
    """What the batch is built from, if it has `inputs:`, fetched and kept as it is until the
    end."""
    from orchestrator.inputs.freezing import frozen
    from tasks.settings import current

    return frozen(batch, current()) if batch else nullcontext()


def wanted(
    specfile: Path | None,
    job: str | None,
    overrides: tuple[str, ...],
    now: str | None,
    batch: Path | None,
    *,
    gate: bool = False,
    farm: bool = True,
    inputs: Frozen | None = None,
) -> Sequence[Build]:
    """The builds that the options ask for, rendered and planned; `inputs` are those of the
    batch."""
    from orchestrator.formats.spec import load_specfile
    from orchestrator.planning.batch_plan import plan_batch
    from orchestrator.planning.plan import PlanOptions
    from orchestrator.planning.prepare import moment, parse_overrides, render_and_plan

    when, options = moment(now, os.environ), parse_overrides(overrides)
    if batch:
        if specfile or job:
            raise BadInput(
                "--batch names its own specfiles and jobs", "leave out --specfile and --job"
            )
        if not inputs:
            return plan_batch(batch, overrides=options, now=when, gate=gate)
        return plan_batch(
            batch,
            overrides=options,
            now=when,
            gate=gate,
            folder=inputs.folder,
            inputs=inputs.inputs,
        )
    if not specfile or not job:
        raise BadInput("no job given", "give --specfile FILE --job NAME, or --batch FILE")
    plan = PlanOptions(farm=farm, gate=gate)
    return [
        render_and_plan(load_specfile(specfile), job, overrides=options, now=when, options=plan)
    ]
