"""`stagefarm schedule`: the nights that are due, and what became of the last ones."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from orchestrator.commands.schedule_simulate import simulate
from tasks.errors import BadInput, StagefarmError

if TYPE_CHECKING:
    from orchestrator.display.schedules import Shown
    from tasks.ledger.builds import Ledger
    from tasks.ledger.schedules import ScheduleState

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for a program.")
NEXT_MAX = 1000


def complete_schedule(
    _ctx: click.Context, _param: click.Parameter, start: str
) -> list[CompletionItem]:
    from orchestrator.farm.lookup import open_ledger
    from tasks.ledger.schedules import Schedules

    try:
        names = Schedules(open_ledger(reading=True).connection).names()
    except StagefarmError:
        return []
    return [CompletionItem(name) for name in names if name.startswith(start)]


name_argument = click.argument("name", shell_complete=complete_schedule)


@click.group(short_help="Look at the nights that are due, pause them, run one now.")
def schedule() -> None:
    """Batches with `schedule:` in the supervisor's `schedule_dir` are submitted by it when they are
    due: each slot makes one night, a batch such as nightly-20261127T0130Z.

    \b
    Examples:
      stagefarm schedule list
      stagefarm schedule pause nightly --until 2026-12-01
    """


schedule.add_command(simulate)


@schedule.command("list", short_help="List the schedules.")
@json_option
def list_(*, as_json: bool) -> None:
    """List the schedules that the supervisor sees: when they are due, their last night, and what is
    wrong with them.

    \b
    Example:
      stagefarm schedule list
    """
    from orchestrator.display.schedules import as_values, schedules_table
    from orchestrator.display.table import console
    from orchestrator.farm.lookup import open_ledger
    from tasks.ledger.schedules import Schedules

    ledger = open_ledger(reading=True)
    found = [_shown(state, ledger) for state in Schedules(ledger.connection).all()]
    if as_json:
        click.echo(json.dumps([as_values(one) for one in found], indent=2))
    else:
        console().print(schedules_table(found))


@schedule.command(short_help="Show one schedule.")
@name_argument
@json_option
def show(*, name: str, as_json: bool) -> None:
    """Show one schedule: its file, when it is due, its last night, why a slot was skipped.

    \b
    Example:
      stagefarm schedule show nightly
    """
    from orchestrator.display.schedules import as_values, told
    from orchestrator.farm.lookup import open_ledger

    ledger = open_ledger(reading=True)
    found = _shown(_known(name, ledger), ledger)
    if as_json:
        click.echo(json.dumps(as_values(found), indent=2))
    else:
        click.echo("\n".join(told(found)))


@schedule.command("next", short_help="Show the next nights.")
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=complete_schedule)
@click.option(
    "-n",
    "--count",
    default=5,
    show_default=True,
    type=click.IntRange(1, NEXT_MAX),
    help="How many of each schedule.",
)
@json_option
def next_(*, names: tuple[str, ...], count: int, as_json: bool) -> None:
    """Show when the next nights are due, of all schedules or those named.

    \b
    Example:
      stagefarm schedule next nightly --count 10
    """
    from orchestrator.display.printable import plain
    from orchestrator.display.schedules import clock
    from orchestrator.farm.lookup import open_ledger
    from orchestrator.nights.files import lines_of
    from orchestrator.nights.slots import coming, night_id
    from tasks.ledger.schedules import Schedules

    ledger = open_ledger(reading=True)
    now = datetime.fromtimestamp(ledger.now(), UTC)
    every = Schedules(ledger.connection).all()
    states = [_known(name, ledger) for name in names] or every
    found = sorted(
        ((slot, state) for state in states for slot in coming(lines_of(state.lines), now, count)),
        key=lambda one: (one[0].seconds, one[1].name),
    )
    if as_json:
        values = [
            {
                "schedule": state.name,
                "at": slot.at.isoformat(),
                "night": night_id(state.batch, slot.at),
                "paused": state.is_paused(slot.seconds),
            }
            for slot, state in found
        ]
        click.echo(json.dumps(values, indent=2))
        return
    for slot, state in found:
        paused = "  (paused)" if state.is_paused(slot.seconds) else ""
        click.echo(f"{clock(slot.at)}  {plain(night_id(state.batch, slot.at))}{paused}")


@schedule.command(short_help="Make a night now.")
@name_argument
@json_option
def run(*, name: str, as_json: bool) -> None:
    """Make a night now, besides those that are due: from the file in `schedule_dir` on this
    machine, signed by your key. A paused schedule is run too.

    \b
    Example:
      stagefarm schedule run nightly
    """
    from orchestrator.farm.lookup import open_ledger, warn_of_forgetful_redis
    from orchestrator.farm.nights import make, prepare_now
    from orchestrator.farm.scheduled_nights import counted
    from orchestrator.nights.files import schedule_named
    from tasks.app import app
    from tasks.settings import current

    if not current().schedule_dir:
        raise BadInput("schedule_dir is not set", "set it to the folder of the batch files")
    file = schedule_named(Path(current().schedule_dir), name)
    ledger = open_ledger()
    warn_of_forgetful_redis(ledger)
    now = datetime.fromtimestamp(ledger.now(), UTC)
    night = prepare_now(file, now, ledger, current())
    if not make(night, ledger, app):
        raise BadInput(f"{night.id} is there already", f"see `stagefarm status {night.id}`")
    if as_json:
        values = {"night": night.id, "builds": [build.id for build in night.builds]}
        click.echo(json.dumps(values, indent=2))
    else:
        click.echo(f"{night.id}: {counted(len(night.builds))} submitted")


@schedule.command(short_help="Make no nights for a while.")
@name_argument
@click.option(
    "--until",
    metavar="TIME",
    help="Go on by itself then: a date, or date and time. Default: until `resume`.",
)
@json_option
def pause(*, name: str, until: str | None, as_json: bool) -> None:
    """Make no more nights of a schedule. What is due meanwhile is skipped; what runs goes on.

    \b
    Example:
      stagefarm schedule pause nightly --until 2026-12-01
    """
    from orchestrator.farm.lookup import open_ledger
    from orchestrator.planning.prepare import moment
    from tasks.ledger.schedules import FOREVER, Schedules

    end = moment(until, os.environ, what="--until").timestamp() if until else FOREVER
    ledger = open_ledger()
    if end <= ledger.now():
        raise BadInput(f"--until {until} is over", "give a time that is to come")
    _known(name, ledger)
    Schedules(ledger.connection).pause(name, end)
    _say_state(name, ledger, as_json=as_json)


@schedule.command(short_help="Make nights again.")
@name_argument
@json_option
def resume(*, name: str, as_json: bool) -> None:
    """Make nights of a paused schedule again, from the next that is due.

    \b
    Example:
      stagefarm schedule resume nightly
    """
    from orchestrator.farm.lookup import open_ledger
    from tasks.ledger.schedules import Schedules

    ledger = open_ledger()
    _known(name, ledger)
    Schedules(ledger.connection).resume(name, ledger.now())
    _say_state(name, ledger, as_json=as_json)


@schedule.command("return", short_help="Have stages return to the rotation.")
@name_argument
@click.argument("stages", nargs=-1, required=True, metavar="STAGE...")
@json_option
def return_(*, name: str, stages: tuple[str, ...], as_json: bool) -> None:
    """Have stages that fail night after night, and so are built less often or no more, return to
    the rotation: the next night builds them. STAGE is a job, or a stage as `schedule show` has it.

    \b
    Example:
      stagefarm schedule return nightly stage3-musl
    """
    from orchestrator.farm.lookup import open_ledger
    from tasks.ledger.stages import Stages

    ledger = open_ledger()
    _known(name, ledger)
    found = _stages_named(stages, name, ledger)
    Stages(ledger.connection).give_back(name, found, ledger.now())
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        click.echo("\n".join(f"{stage}: is built in the next night" for stage in found))


def _stages_named(wanted: tuple[str, ...], schedule: str, ledger: Ledger) -> list[str]:
    """The names of the stages of a schedule that `wanted` names, by name or job."""
    from orchestrator.formats.reader import did_you_mean
    from tasks.ledger.stages import Stages

    known = Stages(ledger.connection).of(schedule).values()
    found: dict[str, None] = {}
    for word in wanted:
        named = [stage.name for stage in known if word in (stage.name, stage.job)]
        if not named:
            hint = did_you_mean(
                word, [stage.job for stage in known], f"see `schedule show {schedule}`"
            )
            raise BadInput(f"the last night of {schedule} had no stage {word!r}", hint)
        found |= dict.fromkeys(named)
    return list(found)


def _say_state(name: str, ledger: Ledger, *, as_json: bool) -> None:
    from orchestrator.display.schedules import as_values, clock

    found = _shown(_known(name, ledger), ledger)
    if as_json:
        click.echo(json.dumps(as_values(found), indent=2))
    elif found.word == "paused":
        until = as_values(found)["paused_until"]
        click.echo(f"{name}: paused until {until}")
    else:
        click.echo(f"{name}: {found.word}{f', next {clock(found.next)}' if found.next else ''}")


def _known(name: str, ledger: Ledger) -> ScheduleState:
    """The schedule of that name; `BadInput` if the supervisor sees none."""
    from orchestrator.farm.lookup import nearest
    from tasks.ledger.schedules import Schedules

    schedules = Schedules(ledger.connection)
    if found := schedules.find(name):
        return found
    near = nearest(name, schedules.names())
    hint = "see `stagefarm schedule list`; the supervisor looks for files in its schedule_dir"
    raise BadInput(f"no such schedule: {name!r}", f"did you mean {near}?" if near else hint)


def _shown(state: ScheduleState, ledger: Ledger) -> Shown:
    """The schedule, with the next slot that is not paused."""
    from orchestrator.display.schedules import Shown
    from orchestrator.nights.files import lines_of
    from orchestrator.nights.slots import coming
    from tasks.ledger.stages import Stages

    lines, now = lines_of(state.lines), ledger.now()
    after = max(now, state.paused if state.is_paused(now) else 0.0)
    ahead = coming(lines, datetime.fromtimestamp(after, UTC), 1) if after != float("inf") else []
    stages = tuple(Stages(ledger.connection).of(state.name).values())
    return Shown(
        state=state,
        lines=tuple(f"{line.cron} {line.timezone}" for line in lines),
        next=ahead[0].at if ahead else None,
        now=now,
        stages=stages,
    )
