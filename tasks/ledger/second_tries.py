"""Second tries of failed builds in Redis: which builds have one, what became of it, and which hosts
that makes suspect."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tasks.ledger.connection import Connection
from tasks.ledger.written import as_respecified
from tasks.model import Build, BuildState, encode
from tasks.results import SecondTry

KEPT = 5
"""So many of the last failures of a host are kept that were tried again by another."""


@dataclass(frozen=True, slots=True)
class SecondTries:
    """The second tries of one farm."""

    connection: Connection

    def pending(self, within_s: float, most: int) -> Iterator[str]:
        """Of the `most` builds that ended last, `within_s` seconds ago or less, newest first, those
        that failed and had no second try, and those whose second try has ended and is not
        concluded."""
        with self.connection.reaching() as client:
            seconds, _ = client.time()
            since = seconds - within_s
            ended = client.zrange(
                self.connection.key("ended"),
                "+inf",
                since,
                desc=True,
                byscore=True,
                offset=0,
                num=most,
            )
        pipeline = self.connection.client.pipeline(transaction=False)
        for build in ended:
            names = ("state", "second_after", "second_try", "rebuild_of")
            pipeline.hmget(self.connection.key("build", build), names)
        for build, found in zip(ended, self.connection.run(pipeline), strict=True):
            state, second_after, second_try, rebuild_of = found
            is_due = state == BuildState.FAILED and not rebuild_of
            if is_due if not second_after else not second_try:
                yield build

    def begin(self, build: Build, signatures: str, failed: int) -> int | None:
        """Queue `build`, whose attempt `failed` failed, for its second try; returns the new
        attempt, None if it did not end so or had its second try. Safe to repeat."""
        fields = as_respecified(build, signatures)
        request = f"second.{failed}"
        answer, attempt = self.connection.script("retry", build.id, request, "", failed, *fields)
        return int(attempt) if answer == "ok" else None

    def conclude(self, note: SecondTry, failed: int, *, most: int) -> bool:
        """Note what became of the second try after attempt `failed`. Returns whether that drains
        its first host: `most` of its last failures passed elsewhere (0: no number does)."""
        told = (note.build, failed, encode(note).decode(), note.host, most, KEPT)
        return bool(self.connection.script("conclude_second_try", *told) == "drained")
