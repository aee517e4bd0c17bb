"""Batch files as simulations take them: planned as a night would be, with the contracts of their
releases and the past of their builds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from orchestrator.farm.history import Key, Past
from orchestrator.formats.releasefile import NAME, load_release
from orchestrator.formats.scenariofile import Publish
from orchestrator.inputs.freezing import Frozen, frozen
from orchestrator.nights.slots import night_id
from orchestrator.planning.batch import load_batch
from orchestrator.planning.batch_plan import plan_batch
from orchestrator.release.taking import selection_of
from orchestrator.simulation.model import Batch, Scenario, Stage
from tasks.errors import BadInput
from tasks.model import Build
from tasks.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectations:
    """What is expected of builds: their past, and `takes_s` where nothing is known, which is noted
    in `unknown`."""

    past: Mapping[Key, Past]
    takes_s: float
    unknown: list[str] = field(default_factory=list)

    def of(self, build: Build) -> Past:
        if known := self.past.get((build.job, build.variant, build.queue)):
            return known
        self.unknown.append(_name(build))
        return Past(takes_s=self.takes_s)


def batch_of(file: Path, now: datetime, expected: Expectations, settings: Settings) -> Batch:
    """The batch at `file`, planned as its night at `now` would be. `SpecProblems` with all problems
    in it and in its specfiles."""
    batch = load_batch(file)
    if not batch.schedule:
        hint = 'say when it is due: schedule: {cron: "30 2 * * *"}'
        raise BadInput(f"{file} has no `schedule:`", hint)
    with frozen(file, settings) as found:
        source = found or Frozen(file.resolve().parent, ())
        builds = plan_batch(
            file,
            overrides={},
            now=now,
            batch_id=night_id(batch.name, now),
            folder=source.folder,
            inputs=source.inputs,
        )
    return Batch(
        name=batch.name,
        lines=batch.schedule,
        stages=tuple(_stages(builds, _contracts(builds, batch.release, settings), expected)),
        publish=Publish.NIGHT if batch.release else Publish.BUILD,
    )


def check_whole(scenario: Scenario) -> None:
    """`BadInput` if batches share a name, or no host serves a queue of theirs."""
    for name, count in Counter(batch.name for batch in scenario.batches).items():
        if count > 1:
            raise BadInput(f"{count} batches are called {name!r}", "give one another `name:`")
    wanted = {stage.queue for batch in scenario.batches for stage in batch.stages}
    if missing := sorted(wanted - {queue for host in scenario.hosts for queue in host.queues}):
        hint = "give a scenario with such a host, or start a worker with `--queue`"
        raise BadInput(f"no host serves {', '.join(missing)}", hint)


def _stages(
    builds: Sequence[Build], contracts: Mapping[str, float], expected: Expectations
) -> Iterator[Stage]:
    """The stages of builds, which are listed after those that they start from."""
    names, ids = Counter[str](), dict[str, str]()
    for build in builds:
        name, past = _name(build), expected.of(build)
        names[name] += 1
        ids[build.id] = f"{name} ({names[name]})" if names[name] > 1 else name
        yield Stage(
            id=ids[build.id],
            queue=build.queue,
            takes_s=past.takes_s,
            after=ids[build.after] if build.after else "",
            spread=past.spread,
            fails=past.fails,
            max_age_s=contracts.get(build.id, 0.0),
            priority=build.priority,
        )


def _name(build: Build) -> str:
    return " ".join(filter(None, (build.job, build.variant, build.queue)))


def _contracts(builds: Sequence[Build], release: str, settings: Settings) -> dict[str, float]:
    """How old each stage may be by the release file that the batch names, where this machine has
    it."""
    file = Path(settings.release_dir, f"{release}.yaml")
    if not NAME.fullmatch(release) or not file.is_file():
        return {}
    selections = load_release(file).value.stages
    found = {build.id: selection_of(selections, build.job, build.batch) for build in builds}
    return {build: float(one.max_age) for build, one in found.items() if one}
