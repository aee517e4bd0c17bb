"""What is remembered of stages, and the incidents that follow from it. Pure: time is an argument.

A *stage* is what builds of one job with the same options of the matrix make, on one queue. An
*incident* is one thing that is wrong, whatever it is wrong with: fourteen stages that fail alike
are one. It is open while it has members: the stages that fail so, that the gate holds, that are
older than their contract; or what is wrong with a host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

STAGES_MAX = 5000
FORGET_S = 30 * 24 * 3600.0
"""A stage that was not built for so long is forgotten, and fails no longer."""


class Kind(StrEnum):
    """What is wrong."""

    CAUSE = "cause"
    GATE = "gate"
    STALE = "stale"
    HOST = "host"


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """A build that has ended: which, when, where."""

    build: str
    attempt: int = 1
    at: float = 0.0
    host: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a build failed: like failures share `fingerprint`. `lines` are some of its log."""

    fingerprint: str
    text: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A build of `stage` that has ended: well if there is no `failure`."""

    stage: str
    build: Try
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StageNote:
    """What is remembered of a stage: `last` is its newest build that succeeded or failed, `good`
    the newest that succeeded. While it fails, `bad` is the first build that failed so, of `count`,
    and `differs` says in what its inputs differ from those of `good`. `held` is a build that the
    gate holds."""

    last: Try
    good: Try | None = None
    bad: Try | None = None
    failure: Failure | None = None
    count: int = 0
    differs: tuple[str, ...] = ()
    held: Try | None = None


Stages = Mapping[str, StageNote]
Compare = Callable[[Try, Try], tuple[str, ...]]
"""In what the inputs of two builds differ."""


def absorb(stages: Stages, ended: Iterable[Ended], compare: Compare) -> dict[str, StageNote]:
    """What is remembered once builds have ended, which come in the order in which they did. A build
    that was absorbed before changes nothing."""
    found = dict(stages)
    for one in ended:
        before = found.get(one.stage)
        if before and (one.build.at, one.build.build) <= (before.last.at, before.last.build):
            continue
        found[one.stage] = _after(before, one, compare)
    if len(found) > STAGES_MAX:
        newest = sorted(found, key=lambda name: -found[name].last.at)[:STAGES_MAX]
        found = {name: found[name] for name in newest}
    return found


def _after(before: StageNote | None, ended: Ended, compare: Compare) -> StageNote:
    good, held = (before.good, before.held) if before else (None, None)
    if not ended.failure:
        return StageNote(last=ended.build, good=ended.build, held=held)
    if before and before.failure and before.failure.fingerprint == ended.failure.fingerprint:
        is_another = ended.build.build != before.last.build  # and no second try of the same
        return replace(
            before, last=ended.build, failure=ended.failure, count=before.count + is_another
        )
    return StageNote(
        last=ended.build,
        good=good,
        bad=ended.build,
        failure=ended.failure,
        count=1,
        differs=compare(good, ended.build) if good else (),
        held=held,
    )


def with_holds(stages: Stages, is_held: Callable[[str], bool]) -> dict[str, StageNote]:
    """The stages, with what the gate holds now: the newest that succeeded, else what it held
    before. A newer build ends a hold only once it was judged."""
    found = {}
    for name, note in stages.items():
        held = next((one for one in (note.good, note.held) if one and is_held(one.build)), None)
        found[name] = replace(note, held=held) if held != note.held else note
    return found


def without_forgotten(stages: Stages, now: float) -> dict[str, StageNote]:
    return {name: note for name, note in stages.items() if now - note.last.at < FORGET_S}


# What is wrong now


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One that is concerned, `since` when. Of a stage that fails, `first` and `last` are the builds
    that failed so, `count` in all. `detail` says more in words."""

    name: str
    since: float = 0.0
    good: Try | None = None
    first: Try | None = None
    last: Try | None = None
    count: int = 0
    differs: tuple[str, ...] = ()
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """One thing that is wrong now; without members, that was looked at and is well. `key` names it
    among those of its kind: a fingerprint, a release, a host."""

    kind: Kind
    key: str
    text: str = ""
    lines: tuple[str, ...] = ()
    members: tuple[Member, ...] = ()

    @property
    def id(self) -> str:
        return f"{self.kind}-{self.key}"


GATE_KEY = "all"


def situations_of(stages: Stages) -> list[Situation]:
    """What is wrong with stages: one situation for each cause, and one for all that is held."""
    failing: dict[str, list[str]] = {}
    for name, note in sorted(stages.items()):
        if note.failure:
            failing.setdefault(note.failure.fingerprint, []).append(name)
    found = [
        _failing(key, {name: stages[name] for name in names}) for key, names in failing.items()
    ]
    held = tuple(
        Member(name=name, since=note.held.at, last=note.held)
        for name, note in sorted(stages.items())
        if note.held
    )
    return [*found, Situation(kind=Kind.GATE, key=GATE_KEY, members=held)]


def _failing(key: str, notes: Stages) -> Situation:
    members = tuple(
        Member(
            name=name,
            since=note.bad.at if note.bad else note.last.at,
            good=note.good,
            first=note.bad,
            last=note.last,
            count=note.count,
            differs=note.differs,
        )
        for name, note in notes.items()
    )
    first = min(notes.values(), key=lambda note: note.bad.at if note.bad else note.last.at)
    failure = first.failure or Failure(fingerprint=key, text="")
    return Situation(
        kind=Kind.CAUSE, key=key, text=failure.text, lines=failure.lines, members=members
    )
