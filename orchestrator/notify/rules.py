"""Which messages follow when what is wrong changes. Pure: the time is an argument.

- An incident is told once it has lasted for `settle_s`: fourteen stages that fail within some
  minutes are one message.
- That it has more or fewer members is told at most once in `repeat_s`. That it goes on is in the
  digest, and nowhere else.
- Its end is told at once, if its beginning was. What comes back within `repeat_s` of that is told
  when that time is over: what fails every other hour is no news every hour.
- Of all messages at most `per_hour` are made in an hour. What is more is one summary.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from orchestrator.notify.incidents import FORGET_S, Kind, Member, Situation, StageNote, Stages

HOUR_S = 3600.0
SEEN_S = 24 * HOUR_S
"""That an incident was seen again is noted so often."""
CLOSED_KEPT_S = 7 * 24 * HOUR_S
CLOSED_MAX = 200
"""Of the incidents that have ended, the newest are remembered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    settle_s: float = 300.0
    repeat_s: float = 6 * HOUR_S
    per_hour: int = 20


class State(StrEnum):
    """`new`: people do not know yet. `still`: they do. `changed`: they know it with other members.
    `fixed`: it has ended, what was wrong is well. `other`: it has ended, what is wrong has another
    cause now. `gone`: nobody looks at it any more."""

    NEW = "new"
    STILL = "still"
    CHANGED = "changed"
    FIXED = "fixed"
    OTHER = "other"
    GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """A situation, from when it was first seen, `opened`, until it was over, `closed`. `told` is
    when people were told last, `names` the members that they were told of; they know of it if it is
    `known`. `times` counts how often it has begun. `ends` are the stages that it had, each with
    its newest build when it was over."""

    situation: Situation
    opened: float
    seen: float
    closed: float = 0.0
    how: State | None = None
    told: float = 0.0
    known: bool = False
    names: tuple[str, ...] = ()
    times: int = 1
    ends: tuple[Member, ...] = ()

    @property
    def id(self) -> str:
        return self.situation.id

    @property
    def members(self) -> tuple[str, ...]:
        return tuple(member.name for member in self.situation.members)

    @property
    def state(self) -> State:
        if self.how:
            return self.how
        if not self.known:
            return State.NEW
        return State.CHANGED if set(self.names) != set(self.members) else State.STILL


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A message to make: what became of an incident. `before` are the members that people know."""

    about: State
    incident: Incident
    before: tuple[str, ...] = ()


Incidents = Mapping[str, Incident]


def follow(
    known: Incidents, found: Iterable[Situation], stages: Stages, now: float
) -> dict[str, Incident]:
    """The incidents, once `found` is what is wrong now. What is wrong with a release ends only if
    that could be looked at."""
    changed = _recent(known, now)
    seen = {one.id: one for one in found}
    for id_, before in list(changed.items()):
        is_derived = before.situation.kind is not Kind.STALE
        if id_ not in seen and not before.closed and (is_derived or _is_forgotten(before, now)):
            changed[id_] = _closed(before, stages, now, is_gone=True)
    for id_, situation in seen.items():
        earlier = changed.get(id_)
        if situation.members:
            changed[id_] = _going_on(earlier, situation, now)
        elif earlier and not earlier.closed:
            changed[id_] = _closed(earlier, stages, now)
    return _recent(changed, now)


def _is_forgotten(incident: Incident, now: float) -> bool:
    return now - incident.seen >= FORGET_S


def _going_on(before: Incident | None, situation: Situation, now: float) -> Incident:
    if not before:
        return Incident(situation=situation, opened=now, seen=now)
    if before.closed:
        return Incident(
            situation=situation,
            opened=now,
            seen=now,
            told=before.told,
            known=before.known,
            names=before.names,
            times=before.times + 1,
        )
    seen = now if now - before.seen >= SEEN_S else before.seen
    return replace(before, situation=situation, seen=seen)


def _closed(before: Incident, stages: Stages, now: float, *, is_gone: bool = False) -> Incident:
    if before.situation.kind is not Kind.CAUSE:
        return replace(before, closed=now, how=State.GONE if is_gone else State.FIXED)
    every = dict.fromkeys([*before.names, *before.members])
    ends = {name: _end_of(name, note) for name in every if (note := stages.get(name))}
    last = [ends[name] for name in before.members if name in ends]
    if not last:
        how = State.GONE
    else:
        how = State.FIXED if any(member.good for member in last) else State.OTHER
    return replace(before, closed=now, how=how, ends=tuple(ends.values()))


def _end_of(name: str, note: StageNote) -> Member:
    if note.failure:
        return Member(name=name, since=note.last.at, last=note.last, detail=note.failure.text)
    return Member(name=name, since=note.last.at, good=note.good)


def _recent(incidents: Incidents, now: float) -> dict[str, Incident]:
    """Without those that ended long ago, and of those that nobody was told of."""
    ended = sorted(
        (one for one in incidents.values() if one.closed and now - one.closed < CLOSED_KEPT_S),
        key=lambda one: -one.closed,
    )
    kept = {one.id for one in ended[:CLOSED_MAX]}
    return {id_: one for id_, one in incidents.items() if not one.closed or id_ in kept}


# What is told of it


def notices(incidents: Incidents, rules: Rules, now: float) -> list[Notice]:
    """What is to be told now, the oldest first."""
    due = [one for one in incidents.values() if _is_due(one, rules, now)]
    due.sort(key=lambda one: (one.closed or one.opened, one.id))
    return [Notice(about=one.state, incident=one, before=one.names) for one in due]


def _is_due(incident: Incident, rules: Rules, now: float) -> bool:
    rested = not incident.told or now >= incident.told + rules.repeat_s
    match incident.state:
        case State.NEW:
            return rested and now >= incident.opened + rules.settle_s
        case State.CHANGED:
            return rested
        case State.STILL:
            return False
    return incident.known


def told(incident: Incident, now: float) -> Incident:
    """The incident, once people were told of it as it is."""
    return replace(incident, told=now, known=not incident.closed, names=incident.members)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to tell now: each of `single` in a message of its own, or all of `together` in one;
    `made` are the times at which messages were made in the last hour."""

    single: tuple[Notice, ...] = ()
    together: tuple[Notice, ...] = ()
    made: tuple[float, ...] = ()


def plan(due: Sequence[Notice], made: Sequence[float], rules: Rules, now: float) -> Plan:
    """What of `due` is told now, by itself or in a summary; nothing once an hour's messages are
    made: it stays due."""
    recent = tuple(time for time in made if now - HOUR_S < time <= now)
    free = rules.per_hour - len(recent)
    if not due or free <= 0:
        return Plan(made=recent)
    if len(due) <= free:
        return Plan(single=tuple(due), made=(*recent, *(now for _ in due)))
    return Plan(together=tuple(due), made=(*recent, now))
