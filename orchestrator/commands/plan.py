"""`stagefarm plan`: the steps of a job, without running them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.commands.options import inputs_of, wanted, wanted_options

if TYPE_CHECKING:
    from rich.table import Table

    from tasks.model import Build, Hook, Step


@click.command(short_help="Show the steps of a job, and what each would do.")
@wanted_options
@click.option("--local", is_flag=True, help="Plan for `run` on this machine, without a farm.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole build as JSON.")
def plan(
    *,
    specfile: Path | None,
    job: str | None,
    overrides: tuple[str, ...],
    now: str | None,
    batch: Path | None,
    gate: bool,
    local: bool,
    as_json: bool,
) -> None:
    """Show the steps of a job, their queues, and exactly what each would do; or the builds of a
    batch, with their queues and outputs. Runs nothing.

    \b
    Examples:
      stagefarm plan --specfile jobs/stages.yaml --job stage3
      stagefarm plan --batch jobs/nightly.yaml
    """
    from tasks.model import encode

    asked = (specfile, job, overrides, now, batch)
    with inputs_of(batch) as inputs:
        builds = wanted(*asked, gate=gate, farm=not local, inputs=inputs)
    if as_json:
        click.echo(encode(tuple(builds) if batch else builds[0]))
    elif batch:
        _print_table(builds)
    else:
        for line in _text(builds[0], farm=not local):
            click.echo(line)


def _print_table(builds: Sequence[Build]) -> None:
    from orchestrator.display.table import console

    queues = {build.queue for build in builds}
    console().print(_table(builds))
    click.echo(f"\n{len(builds)} builds in {len(queues)} queue{'s' * (len(queues) != 1)}")


def _table(builds: Sequence[Build]) -> Table:
    """One line per build, within each queue in order of priority."""
    from rich.table import Table
    from rich.text import Text

    table = Table(show_edge=False, box=None, pad_edge=False)
    for title in ("queue", "job", "options", "output", "steps", "priority", "", ""):
        table.add_column(title, overflow="fold")
    jobs = {build.id: build.job for build in builds}
    for build in sorted(builds, key=lambda build: (build.queue, -build.priority)):
        table.add_row(
            build.queue,
            build.job,
            Text(build.variant),
            Text(build.output.name),
            str(len(build.steps)),
            str(build.priority),
            "optional" if build.optional else "",
            f"after {jobs[build.after]}" if build.after else "",
        )
    return table


def _text(build: Build, *, farm: bool) -> Iterator[str]:
    yield click.style(build.job, bold=True) + f"  {build.specfile}"
    yield f"  workspace  {build.workspacedir}"
    yield f"  output     {build.output.dir.rstrip('/')}/{build.output.name}"
    for bind in build.chroot_binds:
        yield f"  bind       {bind.source} -> {bind.target}"
    for name, value in sorted(build.environment.items()):
        yield f"  variable   {name}={value}"
    yield ""
    first = click.style(build.queue, fg="cyan") if farm else "this machine"
    for step in build.steps:
        queue = first if step.number == 0 or not farm else "host.<the host that claimed it>"
        yield click.style(f"{step.number + 1:2}  {step.title}", bold=True) + f"  [{queue}]"
        yield from (f"      {line}" for line in _does(build, step))


def _does(build: Build, step: Step) -> Iterator[str]:
    from tasks.model import StepKind

    if step.kind is StepKind.SOURCE:
        yield from _source(build)
    elif step.kind is StepKind.PACK:
        yield f"pack {build.workspacedir}/rootfs as {build.output.name}"
    elif step.kind is StepKind.GATE:
        yield f"test {', '.join(step.tests)}"
    elif step.kind is StepKind.PUBLISH:
        yield "copy the tarball, the log and the record to the store"
    if step.is_inner:
        yield f"privileges {build.privileges_of(step)}, network {step.network}"
    for hook in step.hooks:
        yield from _hook(hook)


def _source(build: Build) -> Iterator[str]:
    from tasks.model import SourceType

    source = build.source
    if source.uri:
        yield f"fetch {source.uri}"
    if source.target or source.path:
        yield f"unpack {source.target or source.path}"
    if source.type is SourceType.ANISE:
        yield from _anise(build)


def _anise(build: Build) -> Iterator[str]:
    from tasks.sources.anise import commands

    source = build.source
    missing = not Path(build.folder, source.anise_config).is_file()
    note = "  (not there: a hook has to write it)" if missing else ""
    yield f"configuration {source.anise_config}{note}"
    for words in commands(source):
        yield f"anise {' '.join(word for word in words if not word.startswith('-'))}"


def _hook(hook: Hook) -> Iterator[str]:
    extra = [f"timeout {hook.timeout_s:g} s"] if hook.timeout_s else []
    extra += [f"retries {hook.retries}"] if hook.retries else []
    extra += [f"bind {item.source} -> {item.target}" for item in hook.chroot_binds]
    yield hook.name + (f"  ({', '.join(extra)})" if extra else "")
    for command in hook.commands:
        first, *rest = command.rstrip("\n").split("\n")
        yield f"  {' '.join(hook.entrypoint)}: {first}"
        yield from (f"    {line}" for line in rest)
