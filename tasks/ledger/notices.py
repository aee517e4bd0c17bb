"""Incidents, messages to people, and who has which, in Redis; as JSON that only its writer reads.

The URLs of targets are not in Redis: a target is named by a mark. What became of incidents and the
messages that follow are one script.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import uuid4

from tasks.ledger.connection import Connection
from tasks.model import BuildState

ENDED_AT_ONCE = 1000


class What(StrEnum):
    """What is noted by name: a hash each."""

    STAGES = "stages"
    INCIDENTS = "incidents"
    OUTBOX = "outbox"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notes:
    """What is noted: `known` as a whole, the rest by name. `version` changes with each change."""

    version: str = ""
    known: str = ""
    stages: Mapping[str, str] = field(default_factory=dict)
    incidents: Mapping[str, str] = field(default_factory=dict)
    outbox: Mapping[str, str] = field(default_factory=dict)

    def of(self, what: What) -> Mapping[str, str]:
        return {
            What.STAGES: self.stages,
            What.INCIDENTS: self.incidents,
            What.OUTBOX: self.outbox,
        }[what]


@dataclass(frozen=True, slots=True)
class Notices:
    connection: Connection

    def version(self) -> str:
        with self.connection.reaching() as client:
            (found,) = client.hmget(self._key("notes"), "version")
        return found or ""

    def read(self) -> Notes:
        """What is noted. If another changes it meanwhile, its version is the one before."""
        pipeline = self.connection.client.pipeline(transaction=False)
        pipeline.hmget(self._key("notes"), "version", "known")
        for what in What:
            pipeline.hgetall(self._key(what))
        (version, known), stages, incidents, outbox = self.connection.run(pipeline)
        return Notes(
            version=version or "",
            known=known or "",
            stages=stages,
            incidents=incidents,
            outbox=outbox,
        )

    def write(self, before: Notes, after: Notes) -> str:
        """Note `after` in place of `before`; returns its version, empty if another was quicker."""
        changes = [
            part
            for what in What
            for name, text in _changed(before.of(what), after.of(what))
            for part in (str(what), name, text)
        ]
        version = uuid4().hex
        answer = self.connection.script(
            "note_incidents", before.version, version, after.known, *changes
        )
        return version if answer == "ok" else ""

    def ended(self, after: float, skip: int = 0) -> list[tuple[str, float]]:
        """The builds that ended from that time on, and when; at most ENDED_AT_ONCE, after the first
        `skip` of them."""
        with self.connection.reaching() as client:
            found: list[tuple[str, float]] = client.zrange(
                self.connection.key("ended"),
                after,
                "+inf",
                byscore=True,
                offset=skip,
                num=ENDED_AT_ONCE,
                withscores=True,
            )
        return found

    def held(self, builds: Sequence[str]) -> set[str]:
        """Those of `builds` that have succeeded, and that the gate of a release holds."""
        pipeline = self.connection.client.pipeline(transaction=False)
        for build in builds:
            pipeline.hmget(self.connection.key("build", build), "state", "gate")
        found = zip(builds, self.connection.run(pipeline), strict=True)
        return {build for build, (state, gate) in found if gate and state == BuildState.SUCCEEDED}

    def targets(self) -> dict[str, str]:
        """How the delivery to each target stands, by its mark."""
        with self.connection.reaching() as client:
            found = client.hgetall(self._key("targets"))
        return {mark: text.partition(" ")[2] for mark, text in found.items()}

    def note_delivery(self, mark: str, sent: int, text: str) -> bool:
        """Note how the delivery to a target stands that has the messages up to `sent`; False if it
        stands further already."""
        return bool(self.connection.script("note_delivery", mark, sent, text) == "ok")

    def forget_target(self, mark: str) -> None:
        self.connection.script("note_delivery", mark, "", "")

    def _key(self, name: str) -> str:
        return self.connection.key("notify", name)


def _changed(before: Mapping[str, str], after: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    """The entries that are new or other, and, with an empty text, those that are gone."""
    for name, text in after.items():
        if before.get(name) != text:
            yield name, text
    for name in before.keys() - after.keys():
        yield name, ""
