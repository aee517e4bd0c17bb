"""The supervisor: requeues the builds of lost hosts, resends lost messages, and has its duties look
after what is due: nights of schedules, releases of batches, work for hosts that have nothing to do.

Any number of supervisors may run; one leads, and another takes over when it stops. Its
state is in the ledger. Each keeps the web site of its own machine up to date.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from celery import Celery

from tasks.errors import FarmUnreachable, HostUnfit
from tasks.ledger.answers import Requeued, RequeueOutcome
from tasks.ledger.builds import Ledger
from tasks.ledger.waiting import Late, Waiting
from tasks.ledger.watch import Look, Watch
from tasks.settings import Settings
from tasks.worker.messages import attempts_in, send

logger = logging.getLogger(__name__)

DAY_S = 24 * 3600.0

LATE_MAX = 10_000
"""Of each queue, the messages of so many builds are looked for in one scan."""

SENT_MAX = 500
"""So many messages are sent again in one scan."""


class Duty(Protocol):
    """Something else that a supervisor looks after in each scan."""

    def look(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Supervisor:
    settings: Settings
    ledger: Ledger
    app: Celery
    say: Callable[[str], None]
    stopping: threading.Event = field(default_factory=threading.Event)
    duties: Sequence[Duty] = ()
    """What only the leading supervisor looks after."""

    own_duties: Sequence[Duty] = ()
    """What each supervisor looks after on its machine, also while Redis does not answer."""

    _missing: set[Late] = field(default_factory=set)

    def run(self) -> None:
        """Scan every `scan_s` seconds until told to stop."""
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
            for duty in self.own_duties:
                duty.look()
            self.stopping.wait(self.settings.scan_s)

    def act(self, look: Look) -> None:
        if look.leads:
            for build, attempt in look.expired:
                self._requeue(self.ledger.expire(build, attempt, self.settings.attempts_max))
            self._sweep()
            for duty in self.duties:
                duty.look()
            if forgotten := self.ledger.forget(self.settings.keep_days * DAY_S):
                self.say(f"removed the records of {forgotten} builds that ended long ago")

    def _requeue(self, requeued: Requeued) -> None:
        if requeued.outcome is not RequeueOutcome.STALE:
            self.say(f"{requeued.build}: its host was lost; now {requeued.outcome}")
        if requeued.outcome is RequeueOutcome.QUEUED:
            self._send(requeued.build, requeued.attempt)

    def _sweep(self) -> None:
        """Resend builds that have waited long without a message: a message can be lost between
        Redis and a worker, and the process that queued the build may have died before sending."""
        waiting = Waiting(self.ledger.connection)
        now, late = waiting.late(self.settings.resend_s, LATE_MAX)
        queued = {queue: self._messages(queue) for queue in {one.queue for one in late}}
        seen = {one for one in late if (one.build, one.attempt) in queued[one.queue]}
        waiting.mark_seen(list(seen), now)
        missing = [one for one in late if one not in seen]
        # A message that a worker has just taken is missing too, for a moment: look a second time.
        lost = [one for one in missing if one in self._missing][:SENT_MAX]
        self._missing.clear()
        self._missing.update(missing)
        if lost:
            self._resend(waiting.mark_resent(lost))

    def _messages(self, queue: str) -> set[tuple[str, int]]:
        return attempts_in(self.ledger.connection, queue)

    def _resend(self, lost: Sequence[Late]) -> None:
        with self.app.producer_or_acquire() as producer:
            for one in lost:
                self.say(f"{one.build}: sending its message again")
                self._send(one.build, one.attempt, producer)

    def _send(self, build: str, attempt: int, producer: Any = None) -> None:
        """Send the message of a queued build, unless another version of stagefarm has to."""
        try:
            send(self.app, self.ledger.build(build), attempt, producer=producer)
        except HostUnfit as error:
            self.say(f"{error}; {error.hint}")
