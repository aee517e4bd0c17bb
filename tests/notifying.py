"""A farm on paper: builds end, hosts fall ill, and what people are told is written down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from orchestrator.notify.incidents import Ended, Failure, Kind, Member, Situation, Try
from orchestrator.notify.memory import Memory, Observation, advance, read, written
from orchestrator.notify.rules import Rules
from orchestrator.notify.texts import Message, Writer

START = 1_795_824_000.0  # 2026-11-28 00:00 UTC
MINUTE_S, HOUR_S, DAY_S = 60.0, 3600.0, 24 * 3600.0
WRITER = Writer(farm="farm", zone=ZoneInfo("UTC"))
SCREEN = Failure(
    fingerprint="2d0c3a77f1b2a9c4",
    text="compile of app-misc/screen-5.0.0: implicit declaration of function 'openpty'",
    lines=("  >   4715 │ pty.c:12:7: error: implicit declaration of function 'openpty'",),
)
NETWORK = Failure(fingerprint="77aa0000bbbb1111", text="network: Could not resolve host: HOST")


@dataclass
class Paper:
    """Time goes on by `wait`; each look is one of the supervisor's, every minute."""

    rules: Rules = field(default_factory=Rules)
    now: float = START
    memory: Memory = field(default_factory=Memory)
    told: list[Message] = field(default_factory=list)
    held: set[str] = field(default_factory=set)
    situations: dict[str, Situation] = field(default_factory=dict)
    ended: list[Ended] = field(default_factory=list)
    number: int = 0
    is_all: bool = True

    def ends(self, *stages: str, failure: Failure | None = None, host: str = "one") -> list[str]:
        """A build of each stage ends now; returns their ids."""
        builds = []
        for stage in stages:
            self.number += 1
            build = Try(build=f"b-{self.number:03}", at=self.now, host=host)
            self.ended.append(Ended(stage=stage, build=build, failure=failure))
            builds.append(build.build)
        return builds

    def is_sick(self, host: str, *names: str) -> None:
        members = tuple(Member(name=name, detail="why") for name in names)
        self.situations[host] = Situation(kind=Kind.HOST, key=host, members=members)

    def look(self) -> None:
        """One look, by a supervisor that has just started: it knows what is in the ledger."""
        seen = Observation(
            until=self.now,
            ended=self.ended,
            situations=tuple(self.situations.values()),
            is_held=self.held.__contains__,
            is_all=self.is_all,
            compare=lambda before, after: (f"host: {before.host} is now {after.host}",),
        )
        after = advance(read(written(self.memory)), seen, self.rules, WRITER, self.now)
        self.told += [after.outbox[number] for number in sorted(after.outbox)]
        self.memory = after.without_delivered(after.known.number)
        self.ended.clear()

    def wait(self, seconds: float) -> None:
        """Time goes on, with a look each minute."""
        end = self.now + seconds
        while self.now < end:
            self.look()
            self.now = min(self.now + MINUTE_S, end)
        self.look()

    @property
    def titles(self) -> list[str]:
        return [self.at(message) for message in self.told]

    def at(self, message: Message) -> str:
        """When it was made, since the start, and its title: `1:05 farm: new: ...`."""
        minutes = int(message.at - START) // 60
        return f"{minutes // 60}:{minutes % 60:02} {message.title.removeprefix('farm: ')}"


def stages(count: int, queue: str = "x86-64bit.generic_64") -> Sequence[str]:
    return [f"stage{number} {queue}" for number in range(1, count + 1)]
