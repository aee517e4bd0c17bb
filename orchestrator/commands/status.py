"""`stagefarm status`, `workers` and `why`: the state of the farm, from the ledger."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from orchestrator.commands.names import complete_build, complete_name
from tasks.errors import HostUnfit

if TYPE_CHECKING:
    from tasks.ledger.builds import Ledger
    from tasks.ledger.hosts import Host
    from tasks.ledger.records import Record
    from tasks.model import GitInput

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for a program.")


@click.command(short_help="Show builds and batches, or one of them.")
@click.argument("name", required=False, metavar="[BUILD|BATCH]", shell_complete=complete_name)
@click.option(
    "-n",
    "--count",
    default=20,
    show_default=True,
    type=click.IntRange(1),
    help="How many to show without a name.",
)
@click.option("--batches", is_flag=True, help="Show the newest batches instead of builds.")
@json_option
def status(*, name: str | None, count: int, batches: bool, as_json: bool) -> None:
    """Show the newest builds, all builds of a batch, or one build with its steps and attempts.

    \b
    Examples:
      stagefarm status
      stagefarm status --batches
      stagefarm status nightly-20261122-7f3a9c0e --json
    """
    from orchestrator.farm.lookup import builds_named, is_batch, open_ledger

    ledger = open_ledger(reading=True)
    if batches:
        _show_batches(ledger, count, as_json=as_json)
        return
    builds = builds_named(ledger, [name]) if name else ledger.builds(count)
    records = ledger.records(builds)
    if as_json:
        click.echo(json.dumps([_values(ledger, record) for record in records], indent=2))
    elif name and len(records) == 1:
        _show_one(ledger, records[0])
    else:
        from orchestrator.display.table import builds_table, console

        screen = console()
        screen.print(builds_table(records, ledger.now(), width=screen.width))
    if name and not as_json and is_batch(ledger, name):
        _show_left_out(ledger, records[0].batch)


def _show_left_out(ledger: Ledger, batch: str) -> None:
    """The stages that a night does not build, and why."""
    from orchestrator.display.printable import plain
    from orchestrator.display.schedules import described

    (summary,) = ledger.summaries([batch])
    for stage in summary.left_out:
        click.echo(f"not built: {plain(described(stage))}")


def _show_batches(ledger: Ledger, count: int, *, as_json: bool) -> None:
    import msgspec

    from orchestrator.display.table import batches_table, console

    found = ledger.summaries(ledger.batches(count))
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(found), indent=2))
    else:
        console().print(batches_table(found, ledger.now()))


@click.command(short_help="Show the hosts of the farm.")
@json_option
def workers(*, as_json: bool) -> None:
    """Show every host: its state, queues, slots, builds and free disk.

    \b
    Example:
      stagefarm workers
    """
    import msgspec

    from orchestrator.display.table import console, hosts_table, state_of
    from orchestrator.farm.lookup import open_ledger
    from tasks.ledger.hosts import Hosts
    from tasks.settings import current

    ledger, lease_s = open_ledger(reading=True), current().lease_s
    hosts, now = Hosts(ledger.connection).all(), ledger.now()
    if as_json:
        values = [{**msgspec.to_builtins(h), "state": state_of(h, now, lease_s)} for h in hosts]
        click.echo(json.dumps(values, indent=2))
    else:
        console().print(hosts_table(hosts, now, lease_s))


@click.command(short_help="Say why a build waits, or failed.")
@click.argument("build", shell_complete=complete_build)
@json_option
def why(*, build: str, as_json: bool) -> None:
    """Say why BUILD waits: its place in the queue, with the contract, turn and priority that gave
    it that; no host serves its queue, all slots are busy, hosts refused it, or the build it starts
    from has not succeeded yet. Of a build that failed, say the cause in its log.

    \b
    Example:
      stagefarm why stage3-20261122-7f3a9c0e
    """
    from orchestrator.display.why import built_from, explain
    from orchestrator.farm.lookup import one_build, open_ledger
    from tasks.ledger.hosts import Hosts
    from tasks.ledger.queues import Queues
    from tasks.settings import current

    ledger = open_ledger(reading=True)
    record = ledger.record(one_build(ledger, build))
    hosts = Hosts(ledger.connection).all()
    lines = explain(
        record,
        hosts,
        _running(ledger, hosts),
        ledger.refusals(record.id),
        now=ledger.now(),
        lease_s=current().lease_s,
        before=ledger.find(record.after) if record.after else None,
        queued=Queues(ledger.connection).find(record.id, record.queue),
    )
    lines += [*built_from(_inputs(ledger, record)), *_of_its_stage(ledger, record)]
    click.echo(json.dumps(lines, indent=2) if as_json else "\n".join(lines))


def _running(ledger: Ledger, hosts: list[Host]) -> dict[str, Record]:
    held = [build for host in hosts for build in host.builds]
    return {record.id: record for record in ledger.records(held)}


def _values(ledger: Ledger, record: Record) -> dict[str, object]:
    import msgspec

    from orchestrator.display.table import as_values

    more = {"attempts": ledger.attempts(record.id), "inputs": _inputs(ledger, record)}
    return {**as_values(record), **msgspec.to_builtins(more)}


def _of_its_stage(ledger: Ledger, record: Record) -> list[str]:
    """What its schedule says of its stage, if the stage was not built after it."""
    from orchestrator.display.printable import plain
    from orchestrator.display.why import on_its_stage
    from tasks.ledger.schedules import Schedules
    from tasks.ledger.stages import Stages

    stages = Stages(ledger.connection)
    return [
        plain(line)
        for schedule in Schedules(ledger.connection).names()
        for stage in stages.of(schedule).values()
        for line in on_its_stage(record, stage)
    ]


def _inputs(ledger: Ledger, record: Record) -> Sequence[GitInput]:
    """The repositories that it is built from; none of a build that another version has to read."""
    try:
        return ledger.build(record.id).inputs
    except HostUnfit:
        return ()


def _show_one(ledger: Ledger, record: Record) -> None:
    from rich.markup import escape

    from orchestrator.display.cause import excerpt
    from orchestrator.display.printable import plain
    from orchestrator.display.table import artifacts_table, console, stage_of, times_table
    from orchestrator.display.why import built_from

    screen, now = console(), ledger.now()
    about = escape(", ".join(filter(None, [f"queue {record.queue}", record.variant])))
    screen.print(f"[bold]{record.id}[/]  job {record.job}, {about}")
    screen.print(stage_of(record), markup=False, highlight=False)
    if record.rebuild_of:
        screen.print(f"rebuild of {record.rebuild_of}", markup=False, highlight=False)
    for line in (*built_from(_inputs(ledger, record)), *_of_its_stage(ledger, record)):
        screen.print(line, markup=False, highlight=False)
    for line in excerpt(record.cause) if record.cause else ():
        screen.print(line, markup=False, highlight=False)
    if record.second_try:
        screen.print(plain(record.second_try.told), markup=False, highlight=False)
    if record.hint:
        screen.print(f"hint: {record.hint}", markup=False, highlight=False)
    times = ledger.step_times(record.id, record.attempt, len(record.titles))
    screen.print(times_table(record, times, now, _checkpoints(ledger, record)))
    for attempt in ledger.attempts(record.id):
        where = f"attempt {attempt.number} on {attempt.host or 'no host'}: {attempt.how}"
        screen.print(f"{where} {attempt.reason}".rstrip(), markup=False, highlight=False)
    if record.artifacts:
        screen.print(artifacts_table([record]))


def _checkpoints(ledger: Ledger, record: Record) -> set[int]:
    """The steps after which `retry --from` can resume."""
    from tasks.artifacts.fingerprint import usable

    kept = usable(ledger.build(record.id), ledger.checkpoints(record.id))
    return {one.step for one in kept.values()}
