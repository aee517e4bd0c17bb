"""Reads scenario files, and finds what is wrong in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path

from orchestrator.formats.reader import Document, did_you_mean, read_document, read_text
from orchestrator.formats.scenariofile import (
    ScenarioBatch,
    Scenariofile,
    ScenarioHost,
    ScenarioStage,
)
from orchestrator.nights.files import line_problems
from orchestrator.simulation.model import Batch, Host, Outage, Scenario, Stage
from tasks.errors import Problem, SpecProblems

DAY_S = 24 * 3600.0
DAYS_MAX, SLOTS_MAX, SPREAD_MAX = 3660, 1000, 10.0
LAST_YEAR = 2200


def load_scenario(file: Path, *, with_batches: bool = True) -> Document[Scenariofile]:
    """The scenario at `file`; `BadInput` if it cannot be read, `SpecProblems` with all problems in
    it: that it has no batches is one only `with_batches`."""
    document = read_document(read_text(file, "scenario"), str(file), Scenariofile)
    problems = list(_problems(document))
    if with_batches and not document.value.batches:
        hint = "add some, or simulate batch files with --from-batches"
        problems.append(document.problem("batches", "there are no `batches`", hint))
    if problems:
        raise SpecProblems(tuple(sorted(problems)))
    return document


def scenario_of(value: Scenariofile) -> Scenario:
    """The scenario of a file without problems."""
    begin = _moment(value.begin)
    return Scenario(
        begin=begin,
        end=begin + value.days * DAY_S,
        hosts=tuple(_host(host) for host in value.hosts),
        batches=tuple(
            Batch(
                name=batch.name,
                lines=batch.schedule,
                stages=tuple(in_order(stages_of(batch))),
                publish=batch.publish,
            )
            for batch in value.batches
        ),
        seed=value.seed,
    )


def stages_of(batch: ScenarioBatch) -> Iterator[Stage]:
    """The stages of a batch, one for each queue, as they are listed."""
    for stage in batch.stages:
        for queue in stage.queues:
            yield Stage(
                id=_id(stage.name, queue),
                queue=queue,
                takes_s=stage.takes,
                after=_parent(batch, stage.after, queue) if stage.after else "",
                spread=stage.spread,
                fails=stage.fails,
                max_age_s=stage.max_age,
                priority=stage.priority,
            )


def in_order(stages: Iterable[Stage]) -> list[Stage]:
    """`stages`, each after the one that it starts from; `CycleError` if they start from each
    other."""
    known = {stage.id: stage for stage in stages}
    graph = {stage.id: [stage.after] if stage.after else [] for stage in known.values()}
    return [known[name] for name in TopologicalSorter(graph).static_order()]


def _host(host: ScenarioHost) -> Host:
    return Host(
        name=host.name,
        queues=host.queues,
        slots=host.slots,
        outages=tuple(Outage(at=_moment(loss.at), lasts_s=loss.lasts) for loss in host.lost),
    )


def _id(name: str, queue: str) -> str:
    return f"{name} {queue}"


def _parent(batch: ScenarioBatch, name: str, queue: str) -> str:
    """The stage called `name` on the same queue, or the only one; empty if there is none."""
    ids = [_id(stage.name, one) for stage in batch.stages for one in stage.queues
           if stage.name == name]  # fmt: skip
    if _id(name, queue) in ids:
        return _id(name, queue)
    return ids[0] if len(ids) == 1 else ""


def _moment(text: str) -> float:
    """Seconds since 1970; `ValueError` if it is no moment between then and LAST_YEAR."""
    moment = datetime.fromisoformat(text)
    if not 1970 < moment.year < LAST_YEAR:
        raise ValueError(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


# Problems


def _problems(document: Document[Scenariofile]) -> Iterator[Problem]:
    value = document.value
    yield from _moment_problems(document, "begin", value.begin)
    if not 0 < value.days <= DAYS_MAX:
        yield document.problem("days", f"from 1 to {DAYS_MAX:,} days can be simulated")
    yield from _list_problems(document, "hosts", [host.name for host in value.hosts])
    yield from _same_names(document, "batches", [batch.name for batch in value.batches])
    for number, host in enumerate(value.hosts):
        yield from _host_problems(document, f"hosts[{number}]", host)
    served = {queue for host in value.hosts for queue in host.queues}
    for number, batch in enumerate(value.batches):
        yield from _batch_problems(document, f"batches[{number}]", batch, served)


def _list_problems(
    document: Document[Scenariofile], path: str, names: Sequence[str]
) -> Iterator[Problem]:
    if not names:
        yield document.problem(path, f"`{path}` is empty", "begin each item with `- `")
    yield from _same_names(document, path, names)


def _same_names(
    document: Document[Scenariofile], path: str, names: Sequence[str]
) -> Iterator[Problem]:
    for name, count in Counter(names).items():
        if count > 1:
            yield document.problem(path, f"{name!r} is there {count} times")


def _host_problems(
    document: Document[Scenariofile], path: str, host: ScenarioHost
) -> Iterator[Problem]:
    if not 0 < host.slots <= SLOTS_MAX:
        yield document.problem(f"{path}.slots", f"a host has 1 to {SLOTS_MAX:,} slots")
    yield from _list_problems(document, f"{path}.queues", host.queues)
    for number, loss in enumerate(host.lost):
        yield from _length_problems(document, f"{path}.lost[{number}].lasts", loss.lasts)
    wrong = [
        problem
        for number, loss in enumerate(host.lost)
        for problem in _moment_problems(document, f"{path}.lost[{number}].at", loss.at)
    ]
    yield from wrong
    losses = [] if wrong else sorted((_moment(loss.at), loss.lasts) for loss in host.lost)
    if any(at + lasts_s >= next_at for (at, lasts_s), (next_at, _) in pairwise(losses)):
        hint = "a host is lost again only after it was back"
        yield document.problem(f"{path}.lost", f"{host.name} is lost while it is away", hint)


def _batch_problems(
    document: Document[Scenariofile], path: str, batch: ScenarioBatch, served: set[str]
) -> Iterator[Problem]:
    yield from line_problems(document, f"{path}.schedule", batch.schedule)
    if not batch.schedule:
        yield document.problem(f"{path}.schedule", "the batch is never due", "give a `cron`")
    ids = [_id(stage.name, queue) for stage in batch.stages for queue in stage.queues]
    yield from _list_problems(document, f"{path}.stages", ids)
    for number, stage in enumerate(batch.stages):
        yield from _stage_problems(document, f"{path}.stages[{number}]", stage, served)
    wrong = [
        problem
        for number, stage in enumerate(batch.stages)
        for problem in _after_problems(document, f"{path}.stages[{number}].after", stage, batch)
    ]
    yield from wrong or _cycle_problems(document, f"{path}.stages", batch)


def _stage_problems(
    document: Document[Scenariofile], path: str, stage: ScenarioStage, served: set[str]
) -> Iterator[Problem]:
    if not stage.takes:
        yield document.problem(f"{path}.takes", "a build takes some time", "such as 40m")
    for name, seconds in (("takes", stage.takes), ("max_age", stage.max_age)):
        yield from _length_problems(document, f"{path}.{name}", seconds)
    if stage.spread > SPREAD_MAX:
        yield document.problem(f"{path}.spread", f"{SPREAD_MAX:.0%} at most")
    if stage.fails > 1:
        yield document.problem(f"{path}.fails", "no more than 100% of the builds can fail")
    if not stage.queues:
        yield document.problem(f"{path}.queues", f"{stage.name!r} has no queue", "name one")
    for queue in sorted(set(stage.queues) - served):
        hint = did_you_mean(queue, served, "add it to the `queues` of a host")
        yield document.problem(f"{path}.queues", f"no host serves {queue!r}", hint)


def _after_problems(
    document: Document[Scenariofile], path: str, stage: ScenarioStage, batch: ScenarioBatch
) -> Iterator[Problem]:
    names = [one.name for one in batch.stages]
    if stage.after and stage.after not in names:
        hint = did_you_mean(stage.after, names, "name a stage of the batch")
        yield document.problem(path, f"{batch.name} has no stage {stage.after!r}", hint)
    elif stage.after and not all(_parent(batch, stage.after, queue) for queue in stage.queues):
        hint = f"build {stage.after} on the same queues, or on one queue only"
        yield document.problem(path, f"there are several {stage.after!r}", hint)


def _cycle_problems(
    document: Document[Scenariofile], path: str, batch: ScenarioBatch
) -> Iterator[Problem]:
    try:
        in_order(stages_of(batch))
    except CycleError as error:
        chain = " from ".join(error.args[1])
        yield document.problem(path, f"stages start from each other: {chain}")


def _length_problems(
    document: Document[Scenariofile], path: str, seconds: float
) -> Iterator[Problem]:
    if seconds > DAYS_MAX * DAY_S:
        yield document.problem(path, f"longer than {DAYS_MAX:,} days")


def _moment_problems(document: Document[Scenariofile], path: str, text: str) -> Iterator[Problem]:
    try:
        _moment(text)
    except ValueError:
        hint = "such as 2026-03-28 or 2026-03-28T02:30+01:00"
        yield document.problem(path, f"{text!r} is not a time", hint)
