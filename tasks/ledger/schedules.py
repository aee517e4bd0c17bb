"""What the ledger knows of schedules: hints for people, and which slot was the last.

The files of a schedule are on the machines of the supervisors: what is built is decided there. A
night is made by one script, with all its builds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

import msgspec

from tasks.errors import StagefarmError
from tasks.ledger.connection import Connection
from tasks.ledger.order import Order
from tasks.ledger.stages import StageState, counted, left_out
from tasks.ledger.written import as_added
from tasks.model import Build, encode

GONE_KEPT_S = 90 * 24 * 3600
"""A schedule whose file is gone is remembered so long: the file may come back."""

FOREVER = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleState:
    """One schedule. Times are in seconds since 1970, 0 for never: `last` is the last slot that was
    made or skipped, `made` when the last night was; `waits` is a slot that waits for the night
    before; `paused` is until when, FOREVER if until `resume`. `said` tells why the last slot was
    skipped, `error` why its night could not be made, `broken` what is wrong with the file. `lines`
    are those of the file, as JSON."""

    name: str
    batch: str = ""
    file: str = ""
    lines: str = "[]"
    last: float = 0.0
    night: str = ""
    made: float = 0.0
    waits: float = 0.0
    said: str = ""
    error: str = ""
    broken: str = ""
    paused: float = 0.0

    def is_paused(self, now: float) -> bool:
        return self.paused > now


FIELDS = tuple(field.name for field in fields(ScheduleState) if field.name != "name")


@dataclass(frozen=True, slots=True)
class Schedules:
    connection: Connection

    # What anybody reads

    def names(self) -> list[str]:
        with self.connection.reaching() as client:
            return sorted(client.smembers(self.connection.key("schedules")))

    def all(self) -> list[ScheduleState]:
        """Those whose files the supervisor sees, by name."""
        return self._states(self.names())

    def find(self, name: str) -> ScheduleState | None:
        """The schedule of that name, None if the supervisor sees no file of it."""
        return self._states([name])[0] if name in self.names() else None

    def state(self, name: str) -> ScheduleState:
        """What is remembered of the schedule, whether its file is there or not."""
        return self._states([name])[0]

    def _states(self, names: Sequence[str]) -> list[ScheduleState]:
        pipeline = self.connection.client.pipeline(transaction=False)
        for name in names:
            pipeline.hmget(self._key(name), FIELDS)
        return [
            _to_state(name, values)
            for name, values in zip(names, self.connection.run(pipeline), strict=True)
        ]

    # What the supervisor writes

    def see(self, name: str, told: Mapping[str, str | float]) -> None:
        """Note a schedule whose file is there."""
        pipeline = self.connection.client.pipeline(transaction=False)
        pipeline.hset(self._key(name), mapping=dict(told))
        pipeline.persist(self._key(name))
        pipeline.sadd(self.connection.key("schedules"), name)
        self.connection.run(pipeline)

    def lose(self, name: str) -> None:
        """The file of the schedule is gone."""
        pipeline = self.connection.client.pipeline(transaction=False)
        pipeline.srem(self.connection.key("schedules"), name)
        pipeline.expire(self._key(name), GONE_KEPT_S)
        self.connection.run(pipeline)

    def note(self, name: str, **told: str | float) -> None:
        with self.connection.reaching() as client:
            client.hset(self._key(name), mapping=told)

    def make_night(
        self,
        name: str,
        slot: int,
        night: str,
        builds: Sequence[Build],
        signatures: Mapping[str, str],
        orders: Mapping[str, Order] = MappingProxyType({}),
        stages: Sequence[StageState] = (),
    ) -> bool:
        """Add the builds of a night at once, and what became of its stages; False if another has
        made it. `slot` is 0 for one that is made by hand; `signatures` and `orders` as
        `Ledger.submit` takes them."""
        written = [
            part
            for one in builds
            for part in as_added(one, signatures.get(one.id, ""), orders.get(one.id))
        ]
        gone = left_out(stages)
        said = "" if builds else f"nothing was built: {counted(gone)}"
        about = (encode(tuple(stages)).decode(), encode(gone).decode(), said)
        answer = self.connection.script("make_night", name, slot, night, *about, *written)
        return bool(answer == "ok")

    # What people ask for

    def pause(self, name: str, until: float = FOREVER) -> None:
        self.note(name, paused=until)

    def resume(self, name: str, now: float) -> None:
        """Go on; what was due meanwhile is not caught up."""
        self.note(name, paused=0, last=max(now, self.state(name).last))

    def _key(self, name: str) -> str:
        return self.connection.key("schedule", name)


def _to_state(name: str, values: Sequence[str | None]) -> ScheduleState:
    given: dict[str, Any] = {
        key: value for key, value in zip(FIELDS, values, strict=True) if value is not None
    }
    try:
        return msgspec.convert({"name": name, **given}, ScheduleState, strict=False)
    except msgspec.ValidationError as error:
        raise StagefarmError(
            f"the ledger's record of schedule {name} is broken: {error}"
        ) from error
