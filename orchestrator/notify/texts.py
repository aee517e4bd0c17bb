"""The words of messages and of the digest. All that comes from builds, logs and hosts is made
harmless first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo

from orchestrator.display.terminal import duration
from orchestrator.notify.incidents import Kind, Member, Situation, Try
from orchestrator.notify.rules import Incident, Notice, State
from orchestrator.notify.services import harmless
from tasks.model import short_id

MEMBERS_SHOWN = 20
NAMES_SHOWN = 5
DIFFERENCES_SHOWN = 8
LINES_SHOWN = 50
TITLE_CHARS = 160
LINE_CHARS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message to send, made `at`."""

    at: float
    title: str
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """Writes for the farm called `farm`, with times in `zone`."""

    farm: str
    zone: tzinfo

    def message(self, notice: Notice, now: float) -> Message:
        incident = notice.incident
        lines = [f"{_upper(headline(incident))}.", *self._body(notice)]
        return self._message(f"{_word(notice)}: {headline(incident)}", lines, now)

    def summary(self, notices: Sequence[Notice], now: float) -> Message:
        """One message about many."""
        counts = Counter(_word(notice) for notice in notices)
        title = ", ".join(f"{count} {word}" for word, count in counts.items())
        lines = ["Too much at once for a message each:", ""]
        lines += _first(
            [f"{_word(notice)}: {headline(notice.incident)}" for notice in notices], LINES_SHOWN
        )
        return self._message(title, [*lines, "", "stagefarm notify list"], now)

    def late(self, messages: Sequence[Message], now: float) -> Message:
        """One message instead of many that could not be delivered for a while."""
        lines = ["These could not be delivered before:", ""]
        lines += _first([f"{self.clock(one.at)}  {one.title}" for one in messages], LINES_SHOWN)
        return self._message(
            f"{len(messages)} messages", [*lines, "", "stagefarm notify list"], now
        )

    def test(self, now: float) -> Message:
        return self._message("test", ["This is a test: messages of the farm arrive here."], now)

    def digest(self, incidents: Iterable[Incident], counts: Counter[str], now: float) -> Message:
        """What is open, what has ended in the last day, and how the day's builds ended."""
        every = sorted(incidents, key=lambda one: (one.situation.kind, one.opened))
        is_open = [one for one in every if not one.closed]
        ended = [one for one in every if one.closed and now - one.closed < 24 * 3600]
        title = f"digest: {len(is_open)} open, {len(ended)} ended"
        builds = ", ".join(f"{counts[word]} {word}" for word in sorted(counts) if counts[word])
        lines = [f"Builds of the last 24 hours: {builds or 'none'}."]
        for head, some in (("Open", is_open), ("Ended since yesterday", ended)):
            if some:
                lines += ["", f"{head}:", *_first([self._item(one) for one in some], LINES_SHOWN)]
        if not is_open:
            lines += ["", "Nothing is open."]
        return self._message(title, lines, now)

    def clock(self, seconds: float) -> str:
        return f"{datetime.fromtimestamp(seconds, self.zone):%Y-%m-%d %H:%M %Z}"

    def _item(self, one: Incident) -> str:
        when = self.clock(one.closed) if one.closed else f"since {self.clock(since(one))}"
        return f"- {one.state}, {when}: {headline(one)}"

    def _message(self, title: str, lines: Sequence[str], now: float) -> Message:
        whole = f"{self.farm}: {title}"
        short = whole if len(whole) <= TITLE_CHARS else f"{whole[: TITLE_CHARS - 1]}…"
        body = "\n".join(harmless(line[:LINE_CHARS]) for line in lines)
        return Message(at=now, title=harmless(short), body=body)

    # The body of a message

    def _body(self, notice: Notice) -> Iterator[str]:
        incident, situation = notice.incident, notice.incident.situation
        if incident.closed:
            yield f"It lasted for {duration(incident.closed - since(incident))}."
            yield from self._ends(incident)
            return
        if incident.times > 1:
            yield f"It has come back: this is the {_ordinal(incident.times)} time."
        if notice.about is State.CHANGED:
            yield from _changes(notice)
        if situation.kind is Kind.CAUSE:
            yield f"Fingerprint {situation.key}."
        if situation.lines:
            yield from ("", *situation.lines)
        yield ""
        shown = [line for member in situation.members for line in self._member(situation, member)]
        each = len(shown) // len(situation.members)
        yield from _first(shown, MEMBERS_SHOWN * each, each)
        if situation.kind is Kind.CAUSE:
            yield from _differences(situation.members)
        yield from ("", _command(situation))

    def _member(self, situation: Situation, member: Member) -> Iterator[str]:
        match situation.kind:
            case Kind.CAUSE:
                yield f"- {member.name}"
                yield f"  last good: {self._try(member.good) if member.good else 'none is known'}"
                more = f", {member.count} in all" if member.count > 1 else ""
                yield f"  first bad: {self._try(member.first)}{_again(member)}{more}"
            case Kind.GATE:
                yield f"- {member.name}: {self._try(member.last)}"
            case Kind.STALE:
                too_old = f"too old since {self.clock(member.since)}"
                yield f"- {member.name}: {too_old}; the newest is {self._try(member.last)}"
            case Kind.HOST:
                yield f"- {member.name}: {member.detail}"

    def _ends(self, incident: Incident) -> Iterator[str]:
        lines = [
            f"- {one.name}: {self._try(one.good)}"
            if one.good
            else f"- {one.name}: fails for another reason now: {one.detail}"
            for one in incident.ends
        ]
        yield from (["", *_first(lines, MEMBERS_SHOWN)] if lines else [])

    def _try(self, one: Try | None) -> str:
        if not one:
            return "none is known"
        where = f", on {one.host}" if one.host else ""
        return f"{short_id(one.build)}, {self.clock(one.at)}{where}"


OPEN = {
    Kind.CAUSE: ("1 stage fails: {text}", "{count} stages fail: {text}"),
    Kind.GATE: ("the gate holds 1 stage", "the gate holds {count} stages"),
    Kind.STALE: (
        "{key}: 1 stage is older than its contract",
        "{key}: {count} stages are older than their contract",
    ),
    Kind.HOST: ("host {key}: {names}", "host {key}: {names}"),
}
"""What is wrong, with one member and with more."""

ENDED = {
    Kind.CAUSE: "{text}",
    Kind.GATE: "the gate holds no stage any more",
    Kind.STALE: "{key}: no stage is older than its contract any more",
    Kind.HOST: "host {key} is well again",
}


def headline(incident: Incident) -> str:
    """What is wrong, or was, in one line."""
    situation, count = incident.situation, len(incident.members)
    if incident.how is State.GONE and situation.kind in (Kind.HOST, Kind.STALE):
        return f"{situation.key} is not looked at any more"
    kind = situation.kind
    words = ENDED[kind] if incident.closed else OPEN[kind][count > 1]
    names = ", ".join(incident.members)
    return words.format(text=situation.text, key=situation.key, count=count, names=names)


def _again(member: Member) -> str:
    """That another host tried the build once more, in vain."""
    first, last = member.first, member.last
    if not first or not last or first.build != last.build or first.host == last.host:
        return ""
    return f", and its second try on {last.host}"


def _word(notice: Notice) -> str:
    if notice.about is State.NEW:
        return "again" if notice.incident.times > 1 else "new"
    if notice.about is State.OTHER:
        return "ended"
    return str(notice.about)


def _changes(notice: Notice) -> Iterator[str]:
    before, after = set(notice.before), set(notice.incident.members)
    for word, names in (("Not any more", before - after), ("Also now", after - before)):
        if names:
            yield f"{word}: {', '.join(_first(sorted(names), NAMES_SHOWN))}."


def _differences(members: Sequence[Member]) -> Iterator[str]:
    """In what the inputs differ, and of how many stages."""
    compared = [member for member in members if member.good]
    if not compared:
        return
    counts = Counter(line for member in compared for line in member.differs)
    yield from ("", "From the last good build to the first bad one:")
    lines = [f"- {line} ({count} of {len(compared)})" for line, count in counts.most_common()]
    yield from _first(lines, DIFFERENCES_SHOWN) or ["- nothing that the farm knows of"]


def _command(situation: Situation) -> str:
    """What to call to see more."""
    last = situation.members[0].last
    match situation.kind:
        case Kind.CAUSE if last:
            return f"stagefarm why {short_id(last.build)}"
        case Kind.GATE:
            return "stagefarm gate list RELEASE"
        case Kind.HOST:
            return "stagefarm workers"
    return "stagefarm notify list"


def _first(lines: Sequence[str], most: int, each: int = 1) -> list[str]:
    """The first of `lines`, of which `each` are one thing, and how many more there are."""
    rest = (len(lines) - most) // each
    return [*lines[:most], f"and {rest} more"] if rest > 0 else list(lines)


def since(incident: Incident) -> float:
    """When it began."""
    times = [member.since for member in incident.situation.members if member.since]
    return min([*times, incident.opened])


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _ordinal(number: int) -> str:
    """`2nd`, `3rd`, `11th`."""
    last = number % 10 if number // 10 % 10 != 1 else 0
    ending = {1: "st", 2: "nd", 3: "rd"}.get(last, "th")
    return f"{number}{ending}"
