"""Has failed builds tried once more by another host, to tell a broken stage from a sick host.

A build that failed is queued again, at the lowest priority and not for the host on which it failed,
once another host of its queue has nothing to do. If it passes there, the build has succeeded, what
was cancelled because of it is built, and the first host is suspect; one of which enough failures
passed elsewhere is drained. If it fails alike, the stage is broken, and hosts are left alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from celery import Celery

from orchestrator.farm.rebuild import others_of
from orchestrator.farm.retry import Retry, retry, send_all
from orchestrator.farm.signing import known_job, own_trust, sign_all
from tasks.errors import BadInput, FarmUnreachable, StagefarmError
from tasks.ledger.builds import Ledger
from tasks.ledger.hosts import Host, Hosts
from tasks.ledger.records import Attempt, Record
from tasks.ledger.second_tries import KEPT, SecondTries
from tasks.ledger.waiting import Waiting
from tasks.model import BuildState, short_id
from tasks.results import Blamed, SecondTry
from tasks.settings import Settings
from tasks.worker.messages import send

WITHIN_S = 24 * 3600.0
"""A failure that is older is not tried again: a newer night is due."""

LOOK_MAX = 500
PAUSE_SCANS = 3
REASON_MAX = 500


@dataclass(slots=True)
class SecondOpinions:
    settings: Settings
    ledger: Ledger
    app: Celery
    say: Callable[[str], object]
    _look_at: float = 0.0
    _said: set[str] = field(default_factory=set)

    def look(self) -> None:
        """Conclude second tries that have ended, and begin those that are due, unless it is too
        early for that. There are none with `trust = "redis"`: hosts are told apart by their
        keys."""
        if not self.settings.second_tries or self.settings.trust == "redis":
            return
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + PAUSE_SCANS * self.settings.scan_s
        pending = SecondTries(self.ledger.connection).pending(WITHIN_S, LOOK_MAX)
        records = self.ledger.records(pending)
        for record in records:
            if record.second_after:
                self._safely(record, self._conclude)
        self._begin([record for record in records if not record.second_after])

    def _safely(self, record: Record, act: Callable[[Record], None]) -> None:
        """What is wrong with one build is said once, and stops no other."""
        try:
            act(record)
        except FarmUnreachable:
            raise
        except StagefarmError as error:
            self._say_once(f"second try of {short_id(record.id)}: {error}")

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self.say(text)

    # One that is due

    def _begin(self, failed: list[Record]) -> None:
        """Begin one in each queue for which another host has nothing to do."""
        if not failed:
            return
        now = self.ledger.now()
        idle = [host for host in Hosts(self.ledger.connection).all() if not host.builds]
        _, waiting = Waiting(self.ledger.connection).late(0.0, 1)
        busy = {one.queue for one in waiting}
        for record in failed:
            if record.queue in busy or not self._can(record, idle, now):
                continue
            busy.add(record.queue)
            self._safely(record, self._try_again)

    def _can(self, record: Record, idle: list[Host], now: float) -> bool:
        return bool(others_of(record, idle, now, self.settings.lease_s))

    def _try_again(self, record: Record) -> None:
        last = self._attempts(record).get(record.attempt)
        if not last or last.how != BuildState.FAILED:
            return  # its hosts were lost again and again: nothing is known of the stage
        known = known_job(record.id, self.ledger, self.settings).build
        if known.context and not self.ledger.touch_context(known.context):
            raise BadInput("the folder it was submitted from is no longer kept")
        again = replace(known, not_by=self._key_of(record.host), priority=min(known.priority, 0))
        (again,), signatures = sign_all([again], self.settings)
        tries = SecondTries(self.ledger.connection)
        if attempt := tries.begin(again, signatures[again.id], record.attempt):
            self.say(f"{short_id(again.id)}: failed on {record.host}, another host tries it")
            send(self.app, again, attempt)

    def _key_of(self, host: str) -> str:
        """The key that this machine trusts of the host of that name."""
        for entry in own_trust(self.settings).hosts:
            if entry.name == host and not entry.revoked:
                return str(entry.public)
        raise BadInput(f"this machine knows no key of {host}", "see `stagefarm keys trust --help`")

    # One that has ended

    def _conclude(self, record: Record) -> None:
        attempts = self._attempts(record)
        first, last = attempts.get(record.second_after), attempts.get(record.attempt)
        if not first:
            return
        outcome = blamed(first, last)
        if outcome is Blamed.HOST:
            self._retry_followers(record.id)
        note = SecondTry(
            build=record.id,
            outcome=outcome,
            host=first.host,
            other=last.host if last else "",
            reason=first.reason[:REASON_MAX],
            fingerprint=first.fingerprint,
            url=first.url,
        )
        tries = SecondTries(self.ledger.connection)
        drained = tries.conclude(note, record.second_after, most=self.settings.drain_suspects)
        self.say(f"{short_id(record.id)}: {note.told}")
        if drained:
            most = self.settings.drain_suspects
            self.say(
                f"{first.host}: {most} of its last {KEPT} failures passed on other hosts; it takes "
                f"no new builds until `stagefarm undrain {first.host}`"
            )

    def _retry_followers(self, build: str) -> None:
        """Queue what was cancelled because the build had failed, and what starts from that."""
        retried = list(self._retried(build))
        send_all(retried, self.app)

    def _retried(self, build: str) -> Iterator[Retry]:
        for follower in self.ledger.followers(build):
            if follower.state is BuildState.CANCELLED and follower.cancel.startswith(f"{build}, "):
                yield retry(
                    follower.id,
                    start=None,
                    respecified=False,
                    ledger=self.ledger,
                    settings=self.settings,
                )
                yield from self._retried(follower.id)

    def _attempts(self, record: Record) -> dict[int, Attempt]:
        return {attempt.number: attempt for attempt in self.ledger.attempts(record.id)}


def blamed(first: Attempt, second: Attempt | None) -> Blamed:
    """What the second try says of the failure of `first`."""
    if second is None or not second.host or second.host == first.host:
        return Blamed.UNCLEAR
    if second.how == BuildState.SUCCEEDED:
        return Blamed.HOST
    if second.how != BuildState.FAILED:
        return Blamed.UNCLEAR
    same = (first.fingerprint, second.fingerprint)
    alike = same[0] == same[1] if any(same) else first.reason == second.reason
    return Blamed.STAGE if alike else Blamed.UNCLEAR
