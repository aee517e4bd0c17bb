"""The supervisor: gives the builds of lost hosts to others, and sends messages that were lost.

Any number of supervisors may run; one leads, and another takes over when it is gone. It keeps
nothing of its own: all it knows is in the ledger.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import uuid4

from celery import Celery

from tasks.errors import FarmUnreachable
from tasks.ledger import Fate, Given, Ledger
from tasks.messages import backlog, send
from tasks.settings import Settings

logger = logging.getLogger(__name__)

DAY_S = 24 * 3600.0

LEADS_SCANS = 2.0
"""A leader that has not looked for so many scans has lost the lead."""

AWAY_SCANS = 3.5
"""If nobody looked for so many scans, hosts may not have been able to say that they live."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a look round found: whether we lead, for how many seconds more nothing may expire, and
    the builds whose lease has run out."""

    leads: bool
    quiet_s: float
    expired: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Watch:
    """One supervisor's watch over the leases."""

    ledger: Ledger
    lease_s: float
    scan_s: float
    token: str = field(default_factory=lambda: uuid4().hex)

    def look(self) -> Look:
        with self.ledger.connection.reaching() as client:
            run_id = str(client.info("server")["run_id"])
        times = (self.lease_s, LEADS_SCANS * self.scan_s, AWAY_SCANS * self.scan_s)
        leads, quiet_s, *expired = self.ledger.connection.script("scan", self.token, *times, run_id)
        return Look(leads == "1", float(quiet_s), tuple(expired))


@dataclass(frozen=True, slots=True)
class Supervisor:
    settings: Settings
    ledger: Ledger
    app: Celery
    say: Callable[[str], None]
    stopping: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Look round every few seconds until told to stop."""
        watch = Watch(self.ledger, self.settings.lease_s, self.settings.scan_s)
        led = away = False
        while not self.stopping.is_set():
            try:
                look = watch.look()
                if look.leads != led:
                    self.say("leading" if look.leads else "another supervisor leads; standing by")
                led, away = look.leads, False
                self.act(look)
            except FarmUnreachable as error:
                if not away:
                    self.say(f"{error}; waiting")
                away = True
            self.stopping.wait(self.settings.scan_s)

    def act(self, look: Look) -> None:
        if look.leads:
            for build in look.expired:
                self._requeue(self.ledger.expire(build, self.settings.attempts_max))
            self._sweep()
            if forgotten := self.ledger.forget(self.settings.keep_days * DAY_S):
                self.say(f"forgot {forgotten} builds that ended long ago")

    def _requeue(self, given: Given) -> None:
        if given.fate is not Fate.STALE:
            self.say(f"{given.build}: its host is lost; it is {given.fate} now")
        if given.fate is Fate.QUEUED:
            send(self.app, self.ledger.build(given.build), given.attempt)

    def _sweep(self) -> None:
        """Send again what waits long and has no message: a message can be lost between Redis and
        the worker that takes it, and whoever queued the build may have died before sending."""
        now = self.ledger.now()
        for queue, waiting in self.ledger.waiting().items():
            late = [build for build, at in waiting.items() if now - at > self.settings.resend_s]
            if late and backlog(self.app, queue) < len(waiting):
                for build in late:
                    self._resend(build)

    def _resend(self, build: str) -> None:
        attempt = self.ledger.record(build).attempt
        self.say(f"{build}: sending its message again")
        send(self.app, self.ledger.build(build), attempt)
        self.ledger.resent(build, attempt)
