"""Reads many builds at once, for those that look at thousands: each call is one round trip.

What the ledger does not have, or cannot be read, is left out of the answers: who looks at all
builds must not fail because of one of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tasks.errors import StagefarmError
from tasks.ledger.connection import Connection
from tasks.ledger.records import (
    FIELDS,
    Attempt,
    Record,
    step_fields,
    to_attempts,
    to_record,
    to_times,
)
from tasks.model import Build, decode

MALFORMED = (ValueError, TypeError, AttributeError, RecursionError)
"""The errors of reading something else than what the ledger writes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """When each step of the newest attempt began and ended, 0 where it did not; and the attempts
    that have ended."""

    times: tuple[tuple[float, float], ...]
    attempts: tuple[Attempt, ...]


NO_HISTORY = History(times=(), attempts=())


@dataclass(frozen=True, slots=True)
class Bulk:
    connection: Connection

    def records(self, builds: Sequence[str]) -> dict[str, Record]:
        found = self._hmget(builds, FIELDS)
        records: dict[str, Record] = {}
        for build, values in zip(builds, found, strict=True):
            with suppress(*MALFORMED):
                if any(values):
                    records[build] = to_record(build, values)
        return records

    def builds(self, builds: Sequence[str]) -> dict[str, Build]:
        """The builds as they were submitted, or respecified since, not verified."""
        found = self._hmget(builds, ["spec"])
        read: dict[str, Build] = {}
        for build, (spec,) in zip(builds, found, strict=True):
            with suppress(StagefarmError):
                if spec:
                    read[build] = decode(spec, Build)
        return read

    def histories(self, records: Iterable[Record]) -> Mapping[str, History]:
        wanted = list(records)
        pipeline = self.connection.client.pipeline(transaction=False)
        for one in wanted:
            names = step_fields(one.attempt, len(one.titles))
            steps = self.connection.key("build", one.id, "steps")
            pipeline.hmget(steps, names or ["none"])
            pipeline.hgetall(self.connection.key("build", one.id, "attempts"))
        found = self.connection.run(pipeline)
        read: dict[str, History] = {}
        for one, times, attempts in zip(wanted, found[::2], found[1::2], strict=True):
            with suppress(*MALFORMED):
                read[one.id] = History(
                    times=tuple(to_times(times)) if one.titles else (),
                    attempts=tuple(to_attempts(attempts)),
                )
        return read

    def _hmget(self, builds: Sequence[str], fields: Sequence[str]) -> list[Any]:
        pipeline = self.connection.client.pipeline(transaction=False)
        for build in builds:
            pipeline.hmget(self.connection.key("build", build), fields)
        return self.connection.run(pipeline)
