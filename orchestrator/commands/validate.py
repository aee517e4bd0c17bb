"""`stagefarm validate`: report every problem of the given files at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.commands.options import now_option, override_option
from orchestrator.display.printable import plain

if TYPE_CHECKING:
    from orchestrator.planning.validate import Verdict
    from tasks.errors import Problem


@click.command(short_help="Check specfiles, hook files, batches, releases and gates.")
@click.argument(
    "files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path)
)
@click.option("--no-render", is_flag=True, help="Only read the files; render no templates.")
@click.option(
    "--kind",
    type=click.Choice(["specfile", "hooks", "batch", "release", "gate", "scenario"]),
    help="The kind of the files, if their keys do not show it.",
)
@click.option(
    "--engine",
    type=click.Choice(["helm", "jinja2"]),
    default="helm",
    show_default=True,
    help="Template language of hook files that are checked on their own.",
)
@override_option
@now_option
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def validate(
    files: tuple[Path, ...],
    overrides: tuple[str, ...],
    now: str | None,
    kind: str | None,
    engine: str,
    *,
    no_render: bool,
    as_json: bool,
) -> int:
    """Check specfiles, hook files, batches, release files, gate files and scenarios, and report
    every problem at once.

    Each job of a specfile is rendered with its hook files, and each build of a batch. A hook file
    on its own is rendered with the options of -o. The exit code is 2 if anything is wrong.

    \b
    Example:
      stagefarm validate jobs/*.yaml hooks/*.yml
    """
    from orchestrator.formats.spec import Engine
    from orchestrator.planning.prepare import here, moment, parse_overrides
    from orchestrator.planning.validate import Checking, FileKind, check
    from tasks.errors import BadInput

    how = Checking(
        render=not no_render,
        overrides=parse_overrides(overrides),
        now=moment(now, os.environ),
        folder=here(),
        kind=FileKind(kind) if kind else None,
        engine=Engine(engine),
    )
    verdicts = [check(file, how) for file in files]
    if as_json:
        _print_json(verdicts)
    else:
        for verdict in verdicts:
            _print(verdict)
    return BadInput.exit_code if any(verdict.problems for verdict in verdicts) else 0


def _print(verdict: Verdict) -> None:
    for problem in verdict.warnings:
        _print_problem("warning", "yellow", problem)
    for problem in verdict.problems:
        _print_problem("error", "red", problem)
    if not verdict.problems:
        ok = click.style("ok", fg="green", bold=True)
        click.echo(f"{ok}  {verdict.file}: {verdict.kind}, {verdict.summary}")


def _print_problem(word: str, color: str, problem: Problem) -> None:
    click.echo(f"{click.style(f'{word}:', fg=color, bold=True)} {plain(str(problem))}", err=True)
    if problem.hint:
        click.echo(f"{click.style(' hint:', fg='cyan', bold=True)} {plain(problem.hint)}", err=True)


def _print_json(verdicts: list[Verdict]) -> None:
    import json

    click.echo(json.dumps([_as_dict(verdict) for verdict in verdicts], indent=2))


def _as_dict(verdict: Verdict) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(verdict) | {"ok": not verdict.problems}
