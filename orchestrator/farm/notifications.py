"""Tells people what is wrong with the farm: a duty of the supervisor.

What follows from the builds that ended is noted in the ledger together with its messages; then
these are sent. Whoever dies on the way, the next one goes on where it was.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from orchestrator.farm.observer import Observer
from orchestrator.formats.batchfile import Line
from orchestrator.nights.slots import due, problem_of
from orchestrator.notify import services
from orchestrator.notify.memory import Memory, advance, read, written
from orchestrator.notify.rules import Rules
from orchestrator.notify.services import named, secret_urls_of
from orchestrator.notify.targets import Target, after_sending, mark_of, next_delivery
from orchestrator.notify.texts import Writer
from tasks.errors import BadInput, StagefarmError
from tasks.ledger.builds import Ledger
from tasks.ledger.locks import PublishingLock
from tasks.ledger.notices import Notes, Notices
from tasks.model import decode, encode
from tasks.settings import Settings

TURN, TURN_S = "notify", 300.0
"""One supervisor sends at a time; one that is silent for so long has lost its turn."""

FINISH_S = 30.0
"""A supervisor that is stopped waits so long for a service."""


@dataclass(slots=True)
class Notifications:
    settings: Settings
    ledger: Ledger
    say: Callable[[str], object]
    stopping: threading.Event = field(default_factory=threading.Event)
    _observer: Observer = field(init=False)
    _turn: PublishingLock = field(init=False)
    _notes: Notes = field(default_factory=Notes)
    _memory: Memory = field(default_factory=Memory)
    _said: dict[str, str] = field(default_factory=dict)
    _thread: threading.Thread | None = None

    def __post_init__(self) -> None:
        self._observer = Observer(self.settings, self.ledger, self._say_once)
        self._turn = PublishingLock(self.ledger.connection, TURN, TURN_S)

    def look(self) -> None:
        """Look in the background: a service that is slow must not hold up the supervisor."""
        if not self.settings.notify_file or (self._thread and self._thread.is_alive()):
            return
        self._thread = threading.Thread(target=self._safely, daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Let the message that is being sent arrive, as it would be sent again else."""
        self.stopping.set()
        if self._thread:
            self._thread.join(FINISH_S)

    def _safely(self) -> None:
        try:
            self.go_on(self.ledger.now())
            self._said.pop("", None)
        except StagefarmError as error:
            self._say_once("", f"notifications: {error}")

    def go_on(self, now: float) -> None:
        """Note what became of incidents by `now`, and send what follows."""
        urls = secret_urls_of(Path(self.settings.notify_file))
        memory = self._remembered()
        self._register(urls, memory)
        self._advance(self._undelivered(memory), now)
        if self._memory.outbox and self._turn.hold():
            try:
                self._deliver(urls, now)
            finally:
                self._turn.let_go()
        self._observer.look_at_releases(now)

    # What follows

    @property
    def _notices(self) -> Notices:
        return Notices(self.ledger.connection)

    def _remembered(self) -> Memory:
        """What is noted in the ledger, read again if another has changed it."""
        if not self._notes.version or self._notices.version() != self._notes.version:
            self._notes = self._notices.read()
            self._memory = read(self._notes)
        return self._memory

    def _advance(self, memory: Memory, now: float) -> None:
        writer, rules = writer_of(self.settings), rules_of(self.settings)
        after = advance(memory, self._observer.look(memory, now), rules, writer, now)
        after = self._with_digest(after, writer, now)
        notes = written(after, self._notes.version)
        if notes == self._notes:
            return
        if version := self._notices.write(self._notes, notes):
            self._memory, self._notes = after, replace(notes, version=version)
        else:
            self._notes = Notes()

    def _with_digest(self, memory: Memory, writer: Writer, now: float) -> Memory:
        """With the digest that is due; one that was missed is sent late, once."""
        line = digest_line(self.settings)
        last = memory.known.digest
        moment = datetime.fromtimestamp(now, UTC)
        slots = due([line], datetime.fromtimestamp(last, UTC), moment) if line and last else []
        if last and not slots:
            return memory
        if slots:
            counts = self._observer.counts(now)
            memory = memory.with_message(writer.digest(memory.incidents.values(), counts, now))
        return replace(memory, known=replace(memory.known, digest=now))

    # Delivery

    def _register(self, urls: Sequence[str], memory: Memory) -> None:
        """Note targets that are new: they get what comes from now on. Forget those that are
        gone."""
        known, marks = self._notices.targets(), {mark_of(url) for url in urls}
        for number, url in enumerate(urls):
            if mark_of(url) not in known:
                target = Target(name=named(number, url), sent=memory.known.number)
                self._note(mark_of(url), target)
        for mark in known.keys() - marks:
            self._notices.forget_target(mark)

    def _undelivered(self, memory: Memory) -> Memory:
        standing = [target.sent for target in targets_in(self._notices).values()]
        return memory.without_delivered(min(standing, default=memory.known.number))

    def _deliver(self, urls: Sequence[str], now: float) -> None:
        for number, url in enumerate(urls):
            while not self.stopping.is_set() and self._send_next(number, url, now):
                self._turn.hold()

    def _send_next(self, number: int, url: str, now: float) -> bool:
        """Send the next message that the target does not have; False if there is none, or if it
        failed."""
        target = targets_in(self._notices).get(mark_of(url))
        outbox = self._memory.outbox
        writer = writer_of(self.settings)
        delivery = next_delivery(target, outbox, writer, now) if target else None
        if not target or not delivery:
            return False
        message = delivery.message
        is_sent = services.send(url, message.title, message.body)
        after = after_sending(target, delivery, is_sent=is_sent, now=now)
        self._note(mark_of(url), replace(after, name=named(number, url)))
        if not is_sent:
            self._say_once(
                url, f"notifications: {named(number, url)} does not take messages, trying again"
            )
        elif self._said.pop(url, None):
            self.say(f"notifications: {named(number, url)} takes messages again")
        return is_sent

    def _note(self, mark: str, target: Target) -> None:
        self._notices.note_delivery(mark, target.sent, encode(target).decode())

    def _say_once(self, name: str, text: str) -> None:
        """Say it unless it was the last that was said of that."""
        if self._said.get(name) != text:
            self._said[name] = text
            self.say(text)


def targets_in(notices: Notices) -> dict[str, Target]:
    """How the delivery to each target stands, by its mark; what is broken is left out."""
    found = {}
    for mark, text in notices.targets().items():
        with suppress(StagefarmError):
            found[mark] = decode(text, Target)
    return found


def writer_of(settings: Settings) -> Writer:
    return Writer(farm=settings.key_prefix, zone=_zone(settings))


def rules_of(settings: Settings) -> Rules:
    return Rules(
        settle_s=settings.notify_settle_s,
        repeat_s=settings.notify_repeat_s,
        per_hour=settings.notify_per_hour,
    )


def digest_line(settings: Settings) -> Line | None:
    """When the digest is due, None for never."""
    if not settings.notify_digest:
        return None
    return Line(cron=settings.notify_digest, timezone=settings.notify_timezone)


def check_settings(settings: Settings) -> None:
    """`BadInput` if the time of the digest is none."""
    line = digest_line(settings) or Line(cron="0 0 * * *", timezone=settings.notify_timezone)
    key, problem, hint = problem_of(line)
    if problem:
        name = "notify_timezone" if key == "timezone" else "notify_digest"
        raise BadInput(f"{name}: {problem}", hint)


def _zone(settings: Settings) -> ZoneInfo:
    check_settings(settings)
    return ZoneInfo(settings.notify_timezone)
