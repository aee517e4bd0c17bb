"""`stagefarm schedule simulate`: what nights would be, under one policy or another."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

if TYPE_CHECKING:
    from orchestrator.simulation.figures import Figures
    from orchestrator.simulation.model import Scenario
    from orchestrator.simulation.policies import Policy

POLICIES = ("least-slack", "fifo", "stalest-first")


@click.command(short_help="Play nights through without a farm, to compare policies.")
@click.argument("scenario", type=click.Path(path_type=Path))
@click.option(
    "--policy",
    "policies",
    type=click.Choice(POLICIES),
    multiple=True,
    help="In which order builds are taken. Repeatable; default: all, side by side.",
)
@click.option("--days", type=click.IntRange(1), help="How many days, instead of the scenario's.")
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
    scenario: Path,
    policies: tuple[str, ...],
    days: int | None,
    seed: int | None,
    trace: Path | None,
    as_json: bool,
) -> None:
    """Play the nights of SCENARIO through without a farm, and show how old stages would be and how
    long nights would take, if builds were taken in one order or another: all on the same hosts,
    with the same durations and failures. A year takes a second.

    \b
    Examples:
      stagefarm schedule simulate jobs/simulation/mixed.yaml
      stagefarm schedule simulate farm.yaml --policy least-slack --seed 7 --trace events.jsonl
    """
    from orchestrator.display.table import console
    from orchestrator.simulation.policies import Policy
    from orchestrator.simulation.scenario import DAY_S, load_scenario, scenario_of
    from orchestrator.simulation.tables import figures_table, figures_values
    from tasks.host.files import replaced

    found = scenario_of(load_scenario(scenario).value)
    found = found if seed is None else replace(found, seed=seed)
    found = found if days is None else replace(found, end=found.begin + days * DAY_S)
    with replaced(trace) if trace else nullcontext() as file:
        figures = _simulate(found, [Policy(one) for one in policies or POLICIES], file)
    if as_json:
        click.echo(json.dumps(figures_values(figures), indent=2))
    else:
        console().print(figures_table(figures))


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
                    shown_day = day
                    done = min(day, total)
                    shown.progress(
                        Progress(what=f"{policy}, days", done=done, total=total, unit="days")
                    )
            found[policy] = tally.figures()
    return found
