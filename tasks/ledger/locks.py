"""Locks for what two machines must not do at once, such as publishing to one mirror."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from uuid import uuid4

from tasks.ledger.connection import Connection


@dataclass(frozen=True, slots=True)
class PublishingLock:
    """The lock of the mirror at `url`. It ends `lease_s` after it was last taken or renewed.
    `FarmUnreachable` if Redis does not answer, or does not let its user."""

    connection: Connection
    url: str
    lease_s: float
    token: str = field(default_factory=lambda: uuid4().hex)

    def hold(self) -> bool:
        """Take it, or renew it; False if another holds it."""
        return bool(self.connection.script("hold", self._name, self.token, self.lease_s) == "1")

    def let_go(self) -> None:
        self.connection.script("let_go", self._name, self.token)

    @property
    def _name(self) -> str:
        return hashlib.sha256(self.url.encode()).hexdigest()
