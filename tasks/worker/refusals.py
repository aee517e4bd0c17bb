"""The jobs that this host cannot build for now.

A host that was unfit for a build takes no other build of that job for a pause, which doubles each
time that a build was tried without success. The ledger keeps the refusal with the host, so that all
processes of the worker and `workers` see it. It ends when a build of the job succeeds here, or when
the worker starts again.
"""

from __future__ import annotations

from dataclasses import dataclass

from tasks.ledger.builds import Ledger
from tasks.ledger.hosts import Hosts, Unfit

LONGEST_PAUSE_S = 3600.0


@dataclass(frozen=True, slots=True)
class Refusals:
    """The refusals of `host`; `first_pause_s` is how long the first one lasts."""

    hosts: Hosts
    ledger: Ledger
    host: str
    first_pause_s: float

    def reason(self, job: str) -> str:
        """Why this host takes no build of `job` now; empty if it does."""
        found = self.hosts.unfit(self.host, job)
        return found.reason if found and found.until > self.ledger.now() else ""

    def add(self, job: str, reason: str, *, tried: bool) -> None:
        """This host cannot build `job`; `tried`: this was found by a build that had started."""
        now, pause_s = self.ledger.now(), self.first_pause_s
        before = self.hosts.unfit(self.host, job) if tried else None
        if before:
            pause_s = min(2 * (before.until - before.at), max(LONGEST_PAUSE_S, pause_s))
        self.hosts.say_unfit(self.host, job, Unfit(reason=reason, at=now, until=now + pause_s))

    def end(self, job: str) -> None:
        """A build of `job` has succeeded here."""
        self.hosts.say_fit(self.host, job)
