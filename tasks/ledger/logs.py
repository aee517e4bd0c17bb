"""Logs of builds: the newest lines of each in Redis, for `logs -f` and `follow`."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.ledger.connection import Connection
from tasks.model import encode
from tasks.reporting import Line, Progress, Stream


@dataclass(frozen=True, slots=True)
class Page:
    """Where a line belongs: one step of one attempt of a build."""

    build: str
    attempt: int
    step: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One line as stored in Redis, and its id there."""

    id: str
    attempt: int
    step: int
    line: Line


class Logbook:
    """The logs of one farm in Redis: one stream per build, trimmed to the newest lines."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def write(self, page: Page, lines: list[Line], limit: int) -> None:
        """Add `lines`, keeping about `limit` of the newest."""
        key = self.connection.key("build", page.build, "log")
        pipeline = self.connection.client.pipeline(transaction=False)
        for line in lines:
            fields = {"t": line.text, "a": page.attempt, "n": page.step, "s": str(line.stream)}
            if line.hook:
                fields["h"] = line.hook
            pipeline.xadd(key, fields, maxlen=limit, approximate=True)
        self.connection.run(pipeline)

    def set_progress(self, build: str, progress: Progress) -> None:
        """Set the progress of the running step of `build`."""
        with self.connection.reaching() as client:
            client.hset(self.connection.key("build", build), "progress", encode(progress).decode())

    def read(self, build: str, after: str = "-") -> list[Entry]:
        """The lines after the one with id `after`, oldest first."""
        start = after if after == "-" else f"({after}"
        with self.connection.reaching() as client:
            found = client.xrange(self.connection.key("build", build, "log"), start, "+", 5_000)
        return [to_entry(id_, fields) for id_, fields in found]

    def wait(self, build: str, after: str, limit_s: float) -> list[Entry]:
        """The lines after `after`, waiting up to `limit_s` for the first of them."""
        key = self.connection.key("build", build, "log")
        with self.connection.reaching() as client:
            found = client.xread({key: after}, count=1_000, block=int(limit_s * 1_000))
        return [to_entry(id_, fields) for _, entries in found or () for id_, fields in entries]


def to_entry(id_: str, fields: dict[str, str]) -> Entry:
    line = Line(text=fields["t"], hook=fields.get("h", ""), stream=Stream(fields["s"]))
    return Entry(id_, int(fields["a"]), int(fields["n"]), line)
