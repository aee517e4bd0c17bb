"""`stagefarm schedule simulate`: what nights would be, under one policy or another."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from tasks.errors import BadInput

if TYPE_CHECKING:
    from orchestrator.simulation.figures import Figures
    from orchestrator.simulation.model import Scenario
    from orchestrator.simulation.policies import Policy

POLICIES = ("least-slack", "fifo", "stalest-first")
YEAR_DAYS, DAYS_MAX = 365, 3660
NAMED = 3
"""So many of the stages of which nothing is known are named."""


@click.command(short_help="Play nights through without a farm, to compare policies.")
@click.argument("scenario", required=False, type=click.Path(path_type=Path))
@click.option(
    "--from-batches",
    "files",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Simulate the nights of this batch file too, as they would be planned. Repeatable.",
)
@click.option(
    "--from-history",
    is_flag=True,
    help="Take from the farm's ledger how long the builds of batch files took, how many failed, "
    "and, without SCENARIO, the hosts.",
)
@click.option(
    "--takes",
    default="1h",
    show_default=True,
    metavar="TIME",
    help="How long builds of batch files take of which nothing is known.",
)
@click.option(
    "--policy",
    "policies",
    type=click.Choice(POLICIES),
    multiple=True,
    help="In which order builds are taken. Repeatable; default: all, side by side.",
)
@click.option(
    "--days", type=click.IntRange(1, DAYS_MAX), help="How many days, instead of the scenario's."
)
@click.option("--seed", type=int, help="What chance is drawn from, instead of the scenario's.")
@click.option(
    "--trace",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write all that happens to FILE, as lines of JSON.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for a program.")
def simulate(
    *,
    scenario: Path | None,
    files: tuple[Path, ...],
    from_history: bool,
    takes: str,
    policies: tuple[str, ...],
    days: int | None,
    seed: int | None,
    trace: Path | None,
    as_json: bool,
) -> None:
    """Play the nights of SCENARIO through without a farm, and show how old stages would be and how
    long nights would take, if builds were taken in one order or another: all on the same hosts,
    with the same durations and failures. A year of thirty stages takes a second or two.

    \b
    Examples:
      stagefarm schedule simulate jobs/simulation/mixed.yaml
      stagefarm schedule simulate farm.yaml --policy least-slack --seed 7 --trace events.jsonl
      stagefarm schedule simulate --from-history --from-batches /etc/stagefarm/batches/nightly.yaml
    """
    from orchestrator.display.table import console
    from orchestrator.simulation.policies import Policy
    from orchestrator.simulation.scenario import DAY_S
    from orchestrator.simulation.tables import figures_table, figures_values
    from tasks.host.files import replaced

    if from_history and not files:
        raise BadInput("--from-history needs batch files", "name them with --from-batches")
    found = _base(scenario, has_files=bool(files))
    if files:
        found = _with_batches(found, files, takes, from_history=from_history)
    found = found if seed is None else replace(found, seed=seed)
    found = found if days is None else replace(found, end=found.begin + days * DAY_S)
    with replaced(trace) if trace else nullcontext() as file:
        figures = _simulate(found, [Policy(one) for one in policies or POLICIES], file)
    if as_json:
        click.echo(json.dumps(figures_values(figures), indent=2))
    else:
        console().print(figures_table(figures))


def _base(file: Path | None, *, has_files: bool) -> Scenario:
    """The scenario at `file`; without one, a year from today without hosts and batches."""
    from datetime import UTC, datetime

    from orchestrator.simulation.model import Scenario
    from orchestrator.simulation.scenario import DAY_S, load_scenario, scenario_of

    if file:
        return scenario_of(load_scenario(file, with_batches=not has_files).value)
    if not has_files:
        raise BadInput("there is nothing to simulate", "give a SCENARIO, or --from-batches")
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0).timestamp()
    return Scenario(begin=today, end=today + YEAR_DAYS * DAY_S, hosts=(), batches=())


def _with_batches(
    base: Scenario, files: Sequence[Path], takes: str, *, from_history: bool
) -> Scenario:
    """`base` with the nights of batch files, and the hosts of the farm unless it has some."""
    from datetime import UTC, datetime

    from orchestrator.display.printable import plain
    from orchestrator.farm.history import History, history_of
    from orchestrator.farm.lookup import open_ledger, warn
    from orchestrator.farm.simulated import Expectations, batch_of, check_whole
    from orchestrator.formats.reader import seconds_of
    from tasks.settings import current

    takes_s = seconds_of(takes)
    if not takes_s:
        raise BadInput(f"--takes {takes} is no duration", "such as 45m or 2h30m")
    history = history_of(open_ledger(reading=True)) if from_history else History()
    hosts = base.hosts or history.hosts
    if not hosts:
        hint = "give a scenario with hosts, or --from-history on a farm that has some"
        raise BadInput("there are no hosts", hint)
    expected = Expectations(past=history.past, takes_s=takes_s)
    begin = datetime.fromtimestamp(base.begin, UTC)
    batches = [batch_of(file, begin, expected, current()) for file in files]
    found = replace(base, hosts=hosts, batches=(*base.batches, *batches))
    check_whole(found)
    if unknown := expected.unknown:
        named = ", ".join(unknown[:NAMED]) + ", ..." * (len(unknown) > NAMED)
        warn(plain(f"nothing is known of {len(unknown)} stages, so they take {takes}: {named}"))
    return found


def _simulate(
    scenario: Scenario, policies: Sequence[Policy], trace: BinaryIO | None
) -> dict[Policy, Figures]:
    """The figures of each policy; what happens is written to `trace`."""
    from orchestrator.display.terminal import bars
    from orchestrator.simulation.engine import play
    from orchestrator.simulation.figures import Tally
    from orchestrator.simulation.policies import RANKINGS
    from orchestrator.simulation.scenario import DAY_S
    from orchestrator.simulation.tables import event_line
    from tasks.reporting import Progress

    found = {}
    total = int((scenario.end - scenario.begin) / DAY_S)
    with bars() as shown:
        for policy in policies:
            tally, shown_day = Tally(scenario), 0
            for event in play(scenario, RANKINGS[policy]):
                tally.add(event)
                if trace:
                    trace.write(f"{event_line(policy, event)}\n".encode())
                if (day := int((event.at - scenario.begin) / DAY_S)) > shown_day:
                    shown_day, done = day, min(day, total)
                    what = f"{policy}, days"
                    shown.progress(Progress(what=what, done=done, total=total, unit="days"))
            found[policy] = tally.figures()
    return found
