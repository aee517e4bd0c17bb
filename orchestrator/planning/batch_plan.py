"""Plans the builds of a batch file, all with the same `now`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestrator.planning.batch import BatchBuild, load_batch
from orchestrator.planning.dependencies import chained
from orchestrator.planning.plan import PlanOptions
from orchestrator.planning.prepare import new_id, render_and_plan
from orchestrator.planning.render import merge, problems_of
from tasks.errors import BadInput, Problem, SpecProblems
from tasks.model import Build, GitInput


def plan_batch(
    file: Path,
    *,
    overrides: Mapping[str, Any],
    now: datetime,
    gate: bool = False,
    batch_id: str = "",
    folder: Path | None = None,
    inputs: Sequence[GitInput] = (),
) -> list[Build]:
    """The builds of the batch at `file`, each after the one it starts from; `overrides` override
    the options of the batch, and `gate` asks for tests as the batch can. The batch has a new id
    unless it is given; `folder` is sent along (default: the current one), and has the files of
    `inputs`, if the batch has them. `SpecProblems` with all problems of all builds."""
    batch = load_batch(file, folder if inputs else None)
    if batch.inputs and not inputs:
        raise BadInput(f"{file} is built from {', '.join(batch.inputs)}, which are not here")
    every = PlanOptions(
        farm=True,
        batch=batch_id or new_id(batch.name, now),
        release=batch.release,
        gate=gate or batch.gate,
        inputs=tuple(inputs),
    )
    builds: list[Build] = []
    problems: dict[Problem, None] = {}  # a set that keeps its order: jobs share hook files
    for build in batch.builds:
        try:
            builds.append(_plan(build, every, overrides, now, folder))
        except BadInput as error:
            problems |= dict.fromkeys(problems_of(error))
    if problems:
        raise SpecProblems(tuple(problems))
    return chained(builds)


def _plan(
    build: BatchBuild,
    every: PlanOptions,
    overrides: Mapping[str, Any],
    now: datetime,
    folder: Path | None,
) -> Build:
    given = merge(dict(build.overrides), dict(overrides))
    options = replace(
        every,
        variant=" ".join(f"{name}={given[name]}" for name in build.varied),
        priority=build.priority,
        optional=build.optional,
        timeout_s=build.timeout_s,
        max_age_s=build.max_age_s,
    )
    return render_and_plan(
        build.specfile,
        build.job,
        overrides=given,
        now=now,
        options=options,
        folder=folder,
    )
