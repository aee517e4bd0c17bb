"""Chooses which stages of a night are built: not those that are unchanged, where the batch says so,
nor those that fail night after night.

A stage is unchanged if its last good build would come out as the same job today: it is rendered
once more with the `now` of that build, so that a date in a name is no change. A follower of a stage
that is not built starts from that stage's last good build.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from orchestrator.farm.seed_versions import DECLARED, UNKNOWN, SeedVersions
from orchestrator.farm.signing import known_job
from orchestrator.formats.batchfile import NO_FAILURES, Failures, Unchanged
from orchestrator.formats.releasefile import NAME, load_release
from orchestrator.nights.rotation import after_outcome, rotated
from orchestrator.planning.prepare import moment_of
from orchestrator.release.taking import selection_of
from tasks.artifacts.fingerprint import inputs
from tasks.errors import BadInput, FarmUnreachable, StagefarmError
from tasks.ledger.builds import Ledger
from tasks.ledger.stages import Stages, StageState, Standing
from tasks.model import Build, short_id
from tasks.settings import Settings

Replan = Callable[[datetime], Sequence[Build]]
"""The builds of the night as they would be with another `now`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a schedule leaves out; `next` is when its next night is due, in seconds since 1970."""

    schedule: str
    next: float
    unchanged: Unchanged = Unchanged.BUILD
    failures: Failures = NO_FAILURES


@dataclass(frozen=True, slots=True)
class Choice:
    """The builds of a night, and what becomes of all its stages."""

    builds: tuple[Build, ...]
    stages: tuple[StageState, ...]


def stage_names(builds: Sequence[Build]) -> dict[str, str]:
    """A name for the stage of each build, by id, that is the same each night: its job, queue and
    variant, and a number where several share these."""
    seen, names = Counter[str](), dict[str, str]()
    for build in builds:
        name = " ".join(filter(None, (build.job, build.queue, build.variant)))
        seen[name] += 1
        names[build.id] = name if seen[name] == 1 else f"{name} #{seen[name]}"
    return names


def choose(
    planned: Sequence[Build],
    rules: Rules,
    replan: Replan,
    *,
    at: float,
    seeds: SeedVersions,
    ledger: Ledger,
    settings: Settings,
) -> Choice:
    """What the night at `at` (in seconds since 1970) builds of `planned`, each of which comes after
    the one it starts from. `seeds` is what is known of their seeds."""
    names = stage_names(planned)
    known = Stages(ledger.connection).of(rules.schedule)
    returned = Stages(ledger.connection).returned(rules.schedule, names.values())
    before = {}
    for name in names.values():
        state = known.get(name) or StageState(name=name)
        record = ledger.find(state.build) if state.build else None
        outcome = record.state if record else None
        before[name] = after_outcome(state, outcome, returned_at=returned[name])
    chooser = _Chooser(names, before, rules, replan, seeds, ledger, settings)
    for build in planned:
        chooser.decide(build, at)
    return Choice(tuple(chooser.builds), tuple(chooser.after.values()))


@dataclass(slots=True)
class _Chooser:
    """Decides stage by stage. The ledger's word on what a good build was made of does not count,
    only that of its signed job: or whoever writes to Redis could have a stage start from another,
    or from an old one."""

    names: Mapping[str, str]
    before: Mapping[str, StageState]
    rules: Rules
    replan: Replan
    seeds: SeedVersions
    ledger: Ledger
    settings: Settings
    builds: list[Build] = field(default_factory=list)
    after: dict[str, StageState] = field(default_factory=dict)
    _planned: dict[str, Build] = field(default_factory=dict)
    _replanned: dict[str, dict[str, Build]] = field(default_factory=dict)
    _ages: dict[str, float] = field(default_factory=dict)

    def decide(self, build: Build, at: float) -> None:
        name = self.names[build.id]
        self._planned[name] = build
        before = replace(self.before[name], job=build.job)
        state = rotated(before, self.rules.failures, self.rules.schedule)
        seed = self.after.get(self.names.get(build.after, ""))
        if state.standing is Standing.BUILT and seed and seed.standing is not Standing.BUILT:
            good = self._good(seed, until=at)
            if good:
                build = replace(build, after=good.id)
            else:
                said = f"{seed.name} is not built, and has no good build within its max_age"
                state = replace(state, standing=Standing.STRANDED, said=said)
        if state.standing is Standing.BUILT:
            state = self._built_or_unchanged(build, state)
        if state.standing is Standing.BUILT:
            self.builds.append(build)
            state = replace(state, build=build.id, waited=0)
        since = at if state.standing is not before.standing else before.since
        self.after[name] = replace(state, since=since)

    def _built_or_unchanged(self, build: Build, state: StageState) -> StageState:
        if self.rules.unchanged is not Unchanged.SKIP:
            return replace(state, seed=UNKNOWN)
        version = DECLARED if build.after else self.seeds.of(build.source)
        if version != UNKNOWN and version == (state.good_seed or DECLARED):
            good = self._good(state, until=self.rules.next)
            if good and self._makes_again(build, good, state.name):
                said = f"the same as {short_id(good.id)}, within its max_age"
                return replace(state, standing=Standing.UNCHANGED, said=said)
        return replace(state, seed=version)

    def _makes_again(self, build: Build, good: Build, stage: str) -> bool:
        """Whether the build would make what the good one has made, but for the time."""
        then = self._replanned_at(good).get(stage)
        if not then or build.after != good.after:
            return False
        return inputs(replace(then, context=build.context)) == inputs(good)

    def _replanned_at(self, good: Build) -> dict[str, Build]:
        """The builds of the night as they would be with the `now` of an earlier one, by stage."""
        if good.now not in self._replanned:
            try:
                builds = self.replan(moment_of(good))
            except BadInput:  # what can be rendered with today's `now` only
                builds = ()
            names = stage_names(builds)
            self._replanned[good.now] = {names[build.id]: build for build in builds}
        return self._replanned[good.now]

    def _good(self, state: StageState, *, until: float) -> Build | None:
        """The last good build of a stage, by its signed job, if it is within its contract until
        then."""
        if not state.good:
            return None
        try:
            good = known_job(state.good, self.ledger, self.settings).build
        except FarmUnreachable:
            raise
        except StagefarmError:  # forgotten, of another version, or not signed by whom we trust
            return None
        planned = self._planned[state.name]
        is_young = good.created_at + self._max_age_s(planned) >= until
        return good if is_young and _stage_of(good) == _stage_of(planned) else None

    def _max_age_s(self, build: Build) -> float:
        """The contract of the stage, 0 if it has none: then no earlier build counts."""
        if build.max_age_s or not NAME.fullmatch(build.release):
            return build.max_age_s
        key = f"{build.release} {build.job}"
        if key not in self._ages:
            self._ages[key] = self._contract(build)
        return self._ages[key]

    def _contract(self, build: Build) -> float:
        file = Path(self.settings.release_dir, f"{build.release}.yaml")
        try:
            stages = load_release(file).value.stages
        except StagefarmError:
            return 0.0
        selection = selection_of(stages, build.job, build.batch)
        return float(selection.max_age) if selection else 0.0


def _stage_of(build: Build) -> tuple[str, ...]:
    return build.job, build.queue, build.variant, build.specfile
