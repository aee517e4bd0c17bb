"""Which stages of a release are held, since when, and what was said of it.

One file for each channel of a release, on the machine that publishes it. It is replaced as a whole,
so that a crash leaves what was noted before. Messages about holds are noted in it with what they
are about, and removed once they were sent: none is lost, and a crash can repeat at most the one
that was just being sent.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from orchestrator.gate.findings import Finding, StageKey, Verdict
from tasks.errors import StagefarmError, of_system
from tasks.host.files import replaced, write_all
from tasks.host.locks import exclusive
from tasks.model import decode, encode

MESSAGES_MAX = 200
"""Messages that cannot be sent are kept, the newest so many."""

SUPERSEDED_MAX = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A build that is not published, `since` when, and why. `reminded` is when people were told
    last; times are in seconds since 1970. A hold is `quiet` if an earlier one of the same stage has
    the same findings: people are told of each cause once."""

    stage: StageKey
    build: str
    tarball: str
    sha256: str
    built_at: float
    since: float
    against: str = ""
    findings: tuple[Finding, ...] = ()
    waived: tuple[Finding, ...] = ()
    reminded: float = 0.0
    quiet: bool = False

    @property
    def holding(self) -> tuple[Finding, ...]:
        """The findings that hold it; the others are only warnings."""
        return tuple(one for one in self.findings if one.verdict is Verdict.HOLD)

    @property
    def id(self) -> tuple[str, str]:
        return self.build, self.tarball


class About(StrEnum):
    """What a message says of a hold."""

    BEGUN = "begun"
    REMINDER = "reminder"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message to send. `how` says how the hold ended; `sent` are marks of those who have it."""

    about: About
    hold: Hold
    how: str = ""
    sent: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """What the file says. Builds in `superseded` were held, and a newer one was published."""

    holds: tuple[Hold, ...] = ()
    superseded: tuple[str, ...] = ()
    messages: tuple[Message, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """The newest published build of a stage, and when it was built."""

    build: str
    built_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Holds:
    """The holds in `file`. `reminder_s`: after so long, and again each time, people are reminded; 0
    for never. `tells`: whether anybody is told."""

    file: Path
    reminder_s: float = 0.0
    tells: bool = False

    def noted(self) -> Noted:
        try:
            return decode(self.file.read_bytes(), Noted)
        except FileNotFoundError:
            return Noted()
        except OSError as error:
            raise of_system(error) from error
        except StagefarmError as error:
            raise StagefarmError(f"{self.file}: {error}", "remove it") from error

    @property
    def current(self) -> tuple[Hold, ...]:
        """What is held now, the oldest first."""
        return tuple(sorted(self.noted().holds, key=lambda hold: (hold.since, hold.build)))

    def look(self, held: Iterable[Hold]) -> list[Hold]:
        """The same as `note`, but nothing is noted."""
        known = {hold.id: hold for hold in self.noted().holds}
        return [_since(hold, known.get(hold.id), known.values()) for hold in held]

    def note(self, held: Iterable[Hold], superseded: Iterable[str] = ()) -> list[Hold]:
        """Note what is held, and builds that would be if no newer one was published; returns the
        holds, with the time since when they last."""
        with self._changed() as change:
            change.superseded(superseded)
            known = {hold.id: hold for hold in change.noted.holds}
            fresh: list[Hold] = []
            for hold in held:
                noted = _since(hold, known.get(hold.id), known.values())
                if hold.id not in known:
                    change.tell([Message(about=About.BEGUN, hold=noted)])
                known[hold.id] = noted
                fresh.append(noted)
            change.holds(known.values())
        return fresh

    def settle(
        self, published: Mapping[StageKey, Published], builds: Collection[str]
    ) -> list[Hold]:
        """End the holds that a generation ends, which has these `builds`, and of each stage this
        newest one: those of builds that it has, and of older ones. Returns them."""
        with self._changed() as change:
            ended = [
                Message(about=About.ENDED, hold=hold, how=how)
                for hold in change.noted.holds
                if (how := _how_ended(hold, published.get(hold.stage), builds))
            ]
            gone = [message.hold for message in ended]
            change.holds(hold for hold in change.noted.holds if hold not in gone)
            change.superseded(hold.build for hold in gone if hold.build not in builds)
            change.tell(ended)
        return gone

    def remind(self, now: float) -> None:
        """Note a reminder of each hold that has aged since people were told of it."""
        if not self.reminder_s:
            return
        with self._changed() as change:
            due = [one for one in change.noted.holds if now - one.reminded >= self.reminder_s]
            told = {hold.id: replace(hold, reminded=now) for hold in due}
            change.holds(told.get(hold.id, hold) for hold in change.noted.holds)
            change.tell(Message(about=About.REMINDER, hold=hold) for hold in told.values())

    def deliver(self, send: Callable[[Message], tuple[Message | None, str]]) -> list[str]:
        """Send the messages, each by `send`, which returns what is left to send of it, and why;
        returns these reasons. Only one process sends at a time."""
        failed: list[str] = []
        with exclusive(self.file.with_name(f"{self.file.name}.messages")):
            for message in self.noted().messages:
                left, why = send(message)
                failed += [why] if why else []
                with self._changed() as change:
                    change.sent(message, left)
        return list(dict.fromkeys(failed))

    @contextmanager
    def _changed(self) -> Iterator[_Change]:
        try:
            with exclusive(self.file):
                change = _Change(self.noted(), tells=self.tells)
                before = change.noted
                yield change
                if change.noted != before:
                    with replaced(self.file) as fresh:
                        write_all(fresh.fileno(), encode(change.noted))
        except OSError as error:
            raise of_system(error) from error


@dataclass(slots=True)
class _Change:
    noted: Noted
    tells: bool = field(kw_only=True)

    def holds(self, holds: Iterable[Hold]) -> None:
        self.noted = replace(self.noted, holds=tuple(holds))

    def superseded(self, builds: Iterable[str]) -> None:
        known = dict.fromkeys([*self.noted.superseded, *builds])
        self.noted = replace(self.noted, superseded=tuple(known)[-SUPERSEDED_MAX:])

    def tell(self, messages: Iterable[Message]) -> None:
        if self.tells:
            loud = (message for message in messages if not message.hold.quiet)
            every = (*self.noted.messages, *loud)
            self.noted = replace(self.noted, messages=every[-MESSAGES_MAX:])

    def sent(self, message: Message, left: Message | None) -> None:
        """Put what is `left` of a message in its place."""
        put = [left if one == message else one for one in self.noted.messages]
        self.noted = replace(self.noted, messages=tuple(one for one in put if one))


def _how_ended(hold: Hold, newest: Published | None, builds: Collection[str]) -> str:
    if hold.build in builds:
        return "it is published"
    if newest and newest.built_at > hold.built_at:
        return f"the newer {newest.build} is published"
    return ""


def _since(hold: Hold, before: Hold | None, others: Iterable[Hold]) -> Hold:
    """The hold, as it was noted before if it was."""
    if before:
        return replace(hold, since=before.since, reminded=before.reminded, quiet=before.quiet)
    same = (one for one in others if one.stage == hold.stage)
    known = {finding.digest for one in same for finding in one.holding}
    return replace(hold, quiet={finding.digest for finding in hold.holding} <= known)
