"""All that is remembered from look to look, and what one look makes of it: the next memory, and the
messages that follow. Pure: what was looked at, and the time, are arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from orchestrator.notify.incidents import (
    Compare,
    Ended,
    Situation,
    StageNote,
    absorb,
    situations_of,
    with_holds,
    without_forgotten,
)
from orchestrator.notify.rules import Incident, Rules, follow, notices, plan, told
from orchestrator.notify.texts import Message, Writer
from tasks.errors import StagefarmError
from tasks.ledger.notices import Notes
from tasks.model import decode, encode

T = TypeVar("T")

OUTBOX_MAX = 200
"""Messages that nobody can be sent are kept, the newest so many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Up to when builds are absorbed; the times of the last messages, the number of the newest; the
    last slot of the digest."""

    until: float = 0.0
    made: tuple[float, ...] = ()
    number: int = 0
    digest: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    known: Known = Known()
    stages: dict[str, StageNote] = field(default_factory=dict)
    incidents: dict[str, Incident] = field(default_factory=dict)
    outbox: dict[int, Message] = field(default_factory=dict)

    def without_delivered(self, sent: int) -> Memory:
        """Without the messages up to that number, which everybody has."""
        left = {number: one for number, one in self.outbox.items() if number > sent}
        return replace(self, outbox=left)

    def with_message(self, message: Message) -> Memory:
        """With one more in the outbox; beyond OUTBOX_MAX the oldest goes."""
        number = self.known.number + 1
        kept = sorted({**self.outbox, number: message}.items())[-OUTBOX_MAX:]
        return replace(self, known=replace(self.known, number=number), outbox=dict(kept))


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What one look has seen: the builds that ended since, in order, up to `until`; what is wrong
    with hosts and releases; which builds a gate holds, and in what two builds differ. `is_all` if
    no more builds have ended: until then nothing is told."""

    until: float
    ended: Sequence[Ended] = ()
    situations: Sequence[Situation] = ()
    is_held: Callable[[str], bool] = lambda build: False
    compare: Compare = lambda before, after: ()
    is_all: bool = True


def advance(memory: Memory, seen: Observation, rules: Rules, writer: Writer, now: float) -> Memory:
    """The next memory, with the messages that follow in its outbox."""
    stages = absorb(memory.stages, seen.ended, seen.compare)
    stages = without_forgotten(with_holds(stages, seen.is_held), now)
    known = replace(memory.known, until=max(memory.known.until, seen.until))
    after = replace(memory, known=known, stages=stages)
    if not seen.is_all:
        return after
    found = [*situations_of(stages), *seen.situations]
    incidents = follow(memory.incidents, found, stages, now)
    planned = plan(notices(incidents, rules, now), known.made, rules, now)
    messages = [writer.message(notice, now) for notice in planned.single]
    if planned.together:
        messages.append(writer.summary(planned.together, now))
    for notice in (*planned.single, *planned.together):
        incidents[notice.incident.id] = told(notice.incident, now)
    after = replace(after, known=replace(known, made=planned.made), incidents=incidents)
    for message in messages:
        after = after.with_message(message)
    return after


# In the ledger


def read(notes: Notes) -> Memory:
    """The memory in the ledger. What is broken there is not remembered."""
    outbox = _read(notes.outbox, Message)
    return Memory(
        known=_one(notes.known, Known) or Known(),
        stages=_read(notes.stages, StageNote),
        incidents=_read(notes.incidents, Incident),
        outbox={int(number): message for number, message in outbox.items() if number.isdigit()},
    )


def written(memory: Memory, version: str = "") -> Notes:
    return Notes(
        version=version,
        known=encode(memory.known).decode(),
        stages={name: encode(note).decode() for name, note in memory.stages.items()},
        incidents={id_: encode(one).decode() for id_, one in memory.incidents.items()},
        outbox={str(number): encode(one).decode() for number, one in memory.outbox.items()},
    )


def _read(texts: Mapping[str, str], kind: type[T]) -> dict[str, T]:
    found = ((name, _one(text, kind)) for name, text in texts.items())
    return {name: value for name, value in found if value is not None}


def _one(text: str, kind: type[T]) -> T | None:
    try:
        return decode(text, kind) if text else None
    except StagefarmError:
        return None
