"""`stagefarm gate`: what the gate holds, and waivers of its findings."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.commands.gate_check import check
from orchestrator.commands.gate_names import complete_held, file_argument, holds_at, json_option
from orchestrator.commands.gate_waivers import accept, waivers, withdraw
from tasks.errors import BadInput

if TYPE_CHECKING:
    from orchestrator.gate.holds import Hold


class GateGroup(click.Group):
    """`stagefarm gate BUILD` is `stagefarm gate check BUILD`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, "-h", "--help"}:
            args = ["check", *args]
        return super().parse_args(ctx, args)


@click.group(cls=GateGroup, short_help="Judge stages, look at what is held, accept findings.")
def gate() -> None:
    """The gate of a release decides which stages may be published: by the checks of a gate file,
    which the release file names. What is held stays out, and the stages before it stay.

    \b
    Examples:
      stagefarm gate stage3-20261122-7f3a9c0e --release releases/stages.yaml
      stagefarm gate list releases/stages.yaml
    """


for command in (check, accept, waivers, withdraw):
    gate.add_command(command)


@gate.command("list", short_help="List what the gate holds.")
@file_argument
@json_option
def list_(*, file: Path, as_json: bool) -> None:
    """List the stages that the gate of RELEASE_FILE holds: since when, by how many findings, and
    which build is published instead.

    \b
    Example:
      stagefarm gate list releases/stages.yaml
    """
    from orchestrator.display.table import console
    from orchestrator.gate.tables import hold_values, holds_table

    holds = holds_at(file)
    if as_json:
        click.echo(json.dumps([hold_values(hold) for hold in holds], indent=2))
    elif holds:
        console().print(holds_table(holds, time.time()))
    else:
        click.echo("nothing is held")


@gate.command(short_help="Show why a stage is held.")
@file_argument
@click.argument("name", metavar="BUILD|STAGE", shell_complete=complete_held)
@json_option
def show(*, file: Path, name: str, as_json: bool) -> None:
    """Show the findings that hold a build, named by its id or a unique beginning of it, or a stage,
    named as by `gate list`, perhaps with patterns.

    \b
    Examples:
      stagefarm gate show releases/stages.yaml stage3-20261122-7f3a9c0e
      stagefarm gate show releases/stages.yaml 'stage3 minimal-*'
    """
    from orchestrator.display.table import console
    from orchestrator.gate.tables import findings_table, hold_values
    from tasks.model import short_id

    holds = _named(holds_at(file), name)
    if as_json:
        click.echo(json.dumps([hold_values(hold) for hold in holds], indent=2))
        return
    screen = console()
    for hold in holds:
        against = f", compared with {short_id(hold.against)}" if hold.against else ""
        screen.print(f"{hold.stage}, {hold.build}{against}", markup=False)
        screen.print(findings_table(hold.findings, hold.waived))


def _named(holds: Sequence[Hold], name: str) -> list[Hold]:
    """The holds of the build or the stages with that name; `BadInput` if there are none."""
    builds = [hold for hold in holds if hold.build == name] or [
        hold for hold in holds if hold.build.startswith(name)
    ]
    found = builds or [hold for hold in holds if fnmatchcase(str(hold.stage), name)]
    if not found:
        raise BadInput(f"nothing is held that is called {name!r}", "see `stagefarm gate list`")
    if builds and len({hold.build for hold in builds}) > 1:
        said = ", ".join(hold.build for hold in builds[:5])
        raise BadInput(f"{name!r} is ambiguous: {said}", "give more characters of the id")
    return found
