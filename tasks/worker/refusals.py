"""The jobs that this host cannot build for now.

A host that found itself unfit for a build takes no other of that job until a pause has passed,
which is twice as long each time that a build was tried in vain. The ledger keeps it with the host,
so that all of its processes know, and people see it. A build of the job that succeeds here ends it,
and so does a new start of the worker.
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
        """This host cannot build `job`; `tried`: that took a build to find out."""
        now, pause_s = self.ledger.now(), self.first_pause_s
        before = self.hosts.unfit(self.host, job) if tried else None
        if before:
            pause_s = min(2 * (before.until - before.at), max(LONGEST_PAUSE_S, pause_s))
        self.hosts.say_unfit(self.host, job, Unfit(reason=reason, at=now, until=now + pause_s))

    def end(self, job: str) -> None:
        """A build of `job` has succeeded here."""
        self.hosts.say_fit(self.host, job)
