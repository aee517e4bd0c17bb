"""What a site knows of the builds of the ledger: kept in its database, so that a report reads only
what has changed, and that builds are shown while Redis is down.

With a change come the pages that have to be made again: of the build, and of the cause of its
failure. Stages have a digest of their newest builds instead: their pages change for more reasons.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from orchestrator.report.database import Database
from orchestrator.report.folder import GONE, make_again, make_gone
from orchestrator.report.model import (
    MARKS,
    CauseCount,
    HostRow,
    KnownStage,
    Mark,
    NightRow,
    QueueRow,
    StageName,
    Try,
    cause_page,
    page_name,
)
from tasks.model import BuildState, decode, encode

TRIES_MAX = 50
"""The builds of a stage that its page shows."""

FAILED_MAX = 5
"""The builds that failed of a night that are listed."""


@dataclass(frozen=True, slots=True)
class KnownBuilds:
    database: Database

    # Whether and when the ledger was read

    @property
    def position(self) -> str:
        """Where to go on reading the events of the ledger; empty if all has to be read."""
        return self.database.noted("position")

    @property
    def read_at(self) -> float:
        """When the ledger was read last, by Redis's clock; 0 if never."""
        return float(self.database.noted("read_at") or 0)

    def note_read(self, position: str, at: float) -> None:
        self.database.note("position", position)
        self.database.note("read_at", repr(at))

    @property
    def hosts(self) -> tuple[HostRow, ...]:
        return decode(self.database.noted("hosts") or "[]", tuple[HostRow, ...])

    def note_hosts(self, hosts: Sequence[HostRow]) -> None:
        self.database.note("hosts", encode(hosts).decode())

    # Builds

    def __contains__(self, build: object) -> bool:
        """Whether the build has a page, to which others can lead."""
        return bool(
            self.database.rows(
                "SELECT 1 FROM groups WHERE name = ? AND pages != '[]' AND digest != ?",
                *(build_group(str(build)), GONE),
            )
        )

    def ids(self) -> set[str]:
        return {str(id_) for (id_,) in self.database.rows("SELECT id FROM builds")}

    def count(self) -> int:
        ((count,),) = self.database.rows("SELECT count(*) FROM builds")
        return int(count)

    def oldest(self, beyond: int) -> list[str]:
        """The builds that are older than so many newest ones."""
        found = self.database.rows(
            "SELECT id FROM builds ORDER BY submitted DESC, id DESC LIMIT -1 OFFSET ?", beyond
        )
        return [str(id_) for (id_,) in found]

    def of_groups(self, groups: Collection[str]) -> list[Try]:
        """The builds whose pages are these."""
        query = "SELECT data FROM builds WHERE page IN (SELECT value FROM json_each(?))"
        return self._tries(query, encode(list(groups)).decode())

    def of_stage(self, name: StageName) -> list[Try]:
        """The newest builds that make the stage, newest first."""
        return self._tries(
            "SELECT builds.data FROM made JOIN builds ON builds.id = made.build"
            " WHERE made.stage = ? ORDER BY made.submitted DESC, made.build DESC LIMIT ?",
            *(_key(name), TRIES_MAX),
        )

    def of_cause(self, page: str, count: int) -> list[Try]:
        """The newest builds that failed for the cause with that page."""
        return self._tries(
            "SELECT data FROM builds WHERE cause = ? AND cause != ''"
            " ORDER BY submitted DESC, id DESC LIMIT ?",
            *(page, count),
        )

    def failures(self, count: int) -> list[Try]:
        """The builds that failed last."""
        query = "SELECT data FROM builds WHERE state = ? ORDER BY ended DESC, id DESC LIMIT ?"
        return self._tries(query, BuildState.FAILED.value, count)

    def _tries(self, query: str, *values: object) -> list[Try]:
        return [decode(data, Try) for (data,) in self.database.rows(query, *values)]

    # Sums

    def stages(self) -> list[KnownStage]:
        return [
            KnownStage(
                name=decode(name, StageName),
                max_age_s=max_age_s,
                history=history,
                last=decode(last, Try),
            )
            for name, max_age_s, history, last in self.database.rows("SELECT * FROM stages")
        ]

    def queues(self) -> list[QueueRow]:
        """Each queue with how many builds wait and run in it, and how many slots serve it."""
        counts: dict[str, dict[str, int]] = {
            name: {} for host in self.hosts for name in host.queues
        }
        for queue, state, count in self.database.rows(
            "SELECT queue, state, count(*) FROM builds GROUP BY queue, state"
        ):
            counts.setdefault(queue, {})[state] = count
        return [
            QueueRow(
                name=name,
                waiting=states.get(BuildState.QUEUED, 0) + states.get(BuildState.BLOCKED, 0),
                running=states.get(BuildState.RUNNING, 0),
                slots=sum(
                    host.slots for host in self.hosts if name in host.queues and host.state == "up"
                ),
            )
            for name, states in sorted(counts.items())
        ]

    def nights(self, count: int) -> list[NightRow]:
        """The batches that began last, newest first."""
        found = self.database.rows(
            "SELECT batch, min(submitted) FROM builds WHERE batch != ''"
            " GROUP BY batch ORDER BY min(submitted) DESC, batch LIMIT ?",
            count,
        )
        return [self._night(name, begun) for name, begun in found]

    def _night(self, name: str, begun: float) -> NightRow:
        counts, ended = Counter[Mark](), 0.0
        for state, builds, last in self.database.rows(
            "SELECT state, count(*), max(ended) FROM builds WHERE batch = ? AND batch != ''"
            " GROUP BY state",
            name,
        ):
            counts[MARKS[BuildState(state)]] += builds
            ended = max(ended, last)
        goes_on = counts[Mark.RUNNING] + counts[Mark.WAITING]
        return NightRow(
            name=name,
            begun=begun,
            ended=0.0 if goes_on else ended,
            counts=tuple((mark, counts[mark]) for mark in Mark if counts[mark]),
            failed=tuple(
                self._tries(
                    "SELECT data FROM builds WHERE batch = ? AND batch != '' AND state = ?"
                    " ORDER BY submitted, id LIMIT ?",
                    *(name, BuildState.FAILED.value, FAILED_MAX),
                )
            ),
        )

    def causes(self, count: int) -> list[CauseCount]:
        """The causes of which builds failed last, each with how many did."""
        found = self.database.rows(
            "SELECT cause, count(*), max(submitted) FROM builds WHERE cause != ''"
            " GROUP BY cause ORDER BY max(submitted) DESC, cause LIMIT ?",
            count,
        )
        return [
            CauseCount(builds=builds, newest=self.of_cause(cause, 1)[0])
            for cause, builds, _ in found
        ]

    def count_of_cause(self, page: str) -> int:
        """How many builds failed for the cause with that page."""
        ((count,),) = self.database.rows(
            "SELECT count(*) FROM builds WHERE cause = ? AND cause != ''", page
        )
        return int(count)


def build_group(build: str) -> str:
    """The name of the group of a build's pages."""
    return f"build/{page_name(build)}"


def _key(name: StageName) -> str:
    return encode(name).decode()


@dataclass(slots=True)
class Change:
    """One change of what is known, within a transaction; `finish` ends it."""

    database: Database
    _stages: set[str] = field(default_factory=set)
    _causes: set[str] = field(default_factory=set)

    def add(self, one: Try, contracts: dict[StageName, float]) -> None:
        """Note what the ledger says of a build, and the stages that it makes."""
        data = encode(one)
        known = self.database.rows("SELECT data FROM builds WHERE id = ?", one.id)
        if known and known[0][0] == data and not self._differs(one.id, contracts):
            return
        self._leave(one.id)
        self.database.do(
            "INSERT OR REPLACE INTO builds VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            *(one.id, build_group(one.id), one.submitted, one.ended, one.state.value, one.queue),
            *(cause_page(one.fingerprint), one.batch, data),
        )
        for name, max_age_s in contracts.items():
            key = _key(name)
            self._stages.add(key)
            self.database.do(
                "INSERT INTO made VALUES (?, ?, ?, ?)", key, one.submitted, one.id, max_age_s
            )
        self._causes.add(cause_page(one.fingerprint))
        make_again(self.database, build_group(one.id))

    def remove(self, builds: Iterable[str]) -> None:
        """Note that the ledger does not have the builds any more, or that they are too old."""
        for build in builds:
            self._leave(build)
            self.database.do("DELETE FROM builds WHERE id = ?", build)
            make_gone(self.database, build_group(build))

    def finish(self) -> None:
        """Bring up to date what is counted and shown of stages and causes."""
        known = KnownBuilds(self.database)
        for key in self._stages:
            tries = known.of_stage(decode(key, StageName))
            if not tries:
                self.database.do("DELETE FROM stages WHERE name = ?", key)
                continue
            history = hashlib.sha256(b"\0".join(map(encode, tries))).hexdigest()
            ((max_age_s,),) = self.database.rows(
                "SELECT max_age_s FROM made WHERE stage = ? AND build = ?", key, tries[0].id
            )
            self.database.do(
                "INSERT OR REPLACE INTO stages VALUES (?, ?, ?, ?)",
                *(key, max_age_s, history, encode(tries[0])),
            )
        for page in self._causes - {""}:
            mark = make_again if known.count_of_cause(page) else make_gone
            mark(self.database, f"causes/{page}")

    def _differs(self, build: str, contracts: dict[StageName, float]) -> bool:
        found = self.database.rows("SELECT stage, max_age_s FROM made WHERE build = ?", build)
        return dict(found) != {_key(name): age for name, age in contracts.items()}

    def _leave(self, build: str) -> None:
        """Note which stages and causes the build belonged to; it belongs to none now."""
        for (cause,) in self.database.rows("SELECT cause FROM builds WHERE id = ?", build):
            self._causes.add(cause)
        for (stage,) in self.database.rows("SELECT stage FROM made WHERE build = ?", build):
            self._stages.add(stage)
        self.database.do("DELETE FROM made WHERE build = ?", build)
