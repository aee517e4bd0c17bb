"""The supervisor's scan of the leases: which supervisor leads, and which leases have expired."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import uuid4

from tasks.ledger.connection import Connection

LEADS_SCANS = 2.0
"""A leader that has not scanned for so many intervals is no longer the leader."""

AWAY_SCANS = 3.5
"""If no supervisor scanned for so many intervals, hosts may have been unable to send heartbeats."""


@dataclass(frozen=True, slots=True)
class Look:
    """The result of a scan: whether we lead, for how many more seconds no lease expires, and the
    builds and attempts whose lease has expired."""

    leads: bool
    quiet_s: float
    expired: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Watch:
    """One supervisor's scan of the leases."""

    connection: Connection
    lease_s: float
    scan_s: float
    token: str = field(default_factory=lambda: uuid4().hex)

    def look(self) -> Look:
        with self.connection.reaching() as client:
            run_id = str(client.info("server")["run_id"])
        times = (self.lease_s, LEADS_SCANS * self.scan_s, AWAY_SCANS * self.scan_s)
        leads, quiet_s, *expired = self.connection.script("scan", self.token, *times, run_id)
        found = tuple((build, int(attempt)) for build, attempt in expired)
        return Look(leads == "1", float(quiet_s), found)
