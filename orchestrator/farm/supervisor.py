"""The supervisor: gives the builds of lost hosts to others, and sends messages that were lost.

Any number of supervisors may run; one leads, and another takes over when it is gone. It keeps
nothing of its own: all it knows is in the ledger.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from celery import Celery

from tasks.errors import FarmUnreachable
from tasks.ledger.answers import Requeued, RequeueOutcome
from tasks.ledger.builds import Ledger
from tasks.ledger.watch import Look, Watch
from tasks.settings import Settings
from tasks.worker.messages import backlog, send

logger = logging.getLogger(__name__)

DAY_S = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Supervisor:
    settings: Settings
    ledger: Ledger
    app: Celery
    say: Callable[[str], None]
    stopping: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Look round every few seconds until told to stop."""
        watch = Watch(self.ledger.connection, self.settings.lease_s, self.settings.scan_s)
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
            for build, attempt in look.expired:
                self._requeue(self.ledger.expire(build, attempt, self.settings.attempts_max))
            self._sweep()
            if forgotten := self.ledger.forget(self.settings.keep_days * DAY_S):
                self.say(f"forgot {forgotten} builds that ended long ago")

    def _requeue(self, requeued: Requeued) -> None:
        if requeued.outcome is not RequeueOutcome.STALE:
            self.say(f"{requeued.build}: its host is lost; it is {requeued.outcome} now")
        if requeued.outcome is RequeueOutcome.QUEUED:
            send(self.app, self.ledger.build(requeued.build), requeued.attempt)

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
        self.ledger.mark_resent(build, attempt)
