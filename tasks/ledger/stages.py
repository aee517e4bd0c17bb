"""What the ledger remembers of the stages of a schedule from night to night: hints, as ever."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from tasks.errors import StagefarmError
from tasks.ledger.connection import Connection
from tasks.model import decode


class Standing(StrEnum):
    """What became of a stage in the last night: built, or why not. `stranded`: the stage that it
    starts from is not built, and never was."""

    BUILT = "built"
    UNCHANGED = "unchanged"
    BACKED_OFF = "backed off"
    LEFT = "left the rotation"
    STRANDED = "stranded"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageState:
    """One stage of a schedule, as it was when its last night was made.

    `build` is its newest build, and `good` the newest that is known to have succeeded; `seed` and
    `good_seed` are the versions of their seeds at the server. `failures` are the nights in a row in
    which it failed, `counted` the newest build that is one of them, `waited` the nights since in
    which it was left out for that, and `returned` when somebody last had it return. `said` is the
    reason for its standing, `since` the night in which that began. Times are in seconds since 1970.
    """

    name: str
    job: str = ""
    build: str = ""
    seed: str = ""
    good: str = ""
    good_seed: str = ""
    failures: int = 0
    counted: str = ""
    waited: int = 0
    returned: float = 0.0
    standing: Standing = Standing.BUILT
    said: str = ""
    since: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A stage that a night does not build."""

    stage: str
    standing: Standing
    said: str


def left_out(states: Iterable[StageState]) -> tuple[LeftOut, ...]:
    return tuple(
        LeftOut(stage=one.name, standing=one.standing, said=one.said)
        for one in states
        if one.standing is not Standing.BUILT
    )


def counted(stages: Iterable[LeftOut]) -> str:
    """`3 unchanged, 1 left the rotation`."""
    counts = Counter(one.standing for one in stages)
    return ", ".join(f"{counts[standing]} {standing}" for standing in Standing if counts[standing])


@dataclass(frozen=True, slots=True)
class Stages:
    """Those of all schedules."""

    connection: Connection

    def of(self, schedule: str) -> dict[str, StageState]:
        """The stages of the schedule's last night, by name."""
        with self.connection.reaching() as client:
            (found,) = client.hmget(self._key(schedule), ["stages"])
        try:
            states = decode(found or "[]", tuple[StageState, ...])
        except StagefarmError:  # of another version: begun anew
            return {}
        return {one.name: one for one in states}

    def returned(self, schedule: str, stages: Iterable[str]) -> Mapping[str, float]:
        """When somebody last had each stage return to the rotation, 0 for never."""
        names = list(stages)
        if not names:
            return {}
        with self.connection.reaching() as client:
            found = client.hmget(self._key(schedule), [_field(name) for name in names])
        return {name: float(at or 0) for name, at in zip(names, found, strict=True)}

    def give_back(self, schedule: str, stages: Iterable[str], now: float) -> None:
        """Have the stages return to the rotation."""
        with self.connection.reaching() as client:
            client.hset(self._key(schedule), mapping={_field(name): now for name in stages})

    def _key(self, schedule: str) -> str:
        return self.connection.key("schedule", schedule)


def _field(stage: str) -> str:
    return f"returned {stage}"
