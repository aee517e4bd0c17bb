"""Migrates a ledger from schema 1, which stagefarm 0.1 wrote, to schema 2.

Each change is idempotent, and the schema's number is written last: a migration that was interrupted
can be run again. It is the leader of the supervisors while it runs, so that neither a supervisor
nor a second migration runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import msgspec

from tasks.errors import HostUnfit
from tasks.ledger.builds import FIRST_VERSION, Ledger
from tasks.ledger.connection import OLDER_SCHEMA, SCHEMA, Connection, check_schema, schema
from tasks.ledger.hosts import Hosts
from tasks.model import BuildState

AT_ONCE = 500
LEAD_S = 60
ENDED = {str(state) for state in BuildState if state.ended}


@dataclass(frozen=True, slots=True)
class Counts:
    """How many builds and hosts a migration changed, or would change."""

    builds: int = 0
    hosts: int = 0


@dataclass(frozen=True, slots=True)
class Migration:
    """From the schema before ours to ours; `say` is called with the progress."""

    connection: Connection
    lease_s: float
    say: Callable[[str], None]

    def needed(self) -> bool:
        """Whether the ledger has the schema before ours; `HostUnfit` if we cannot read it."""
        check_schema(self.connection, reading=True)
        return schema(self.connection) == OLDER_SCHEMA

    def look(self) -> Counts:
        """What would change. `HostUnfit` if the migration cannot run now."""
        self._require_no_hosts()
        with self.connection.reaching() as client:
            if client.exists(self.connection.key("leader")):
                raise _led()
        return Counts(len(self._builds()), len(self._hosts()))

    def run(self) -> Counts:
        """Migrate everything. `HostUnfit` if workers or supervisors are running."""
        self._require_no_hosts()
        with self._leading() as hold:
            builds, hosts = self._builds(), self._hosts()
            for start in range(0, len(builds), AT_ONCE):
                hold()
                self._migrate_builds(builds[start : start + AT_ONCE])
                self.say(f"{min(start + AT_ONCE, len(builds))} of {len(builds)} builds")
            self._migrate_hosts(hosts)
            self._require_no_hosts()
            hold()
            with self.connection.reaching() as client:
                client.set(self.connection.key("schema"), SCHEMA)
        return Counts(len(builds), len(hosts))

    # What changes

    def _migrate_builds(self, builds: list[str]) -> None:
        changes = self.connection.client.pipeline(transaction=True)
        for build, (fields, steps) in zip(builds, self._read(builds), strict=True):
            if "state" not in fields:  # it is being forgotten
                continue
            key = self.connection.key("build", build)
            changes.hsetnx(key, "version", FIRST_VERSION)
            rename(changes, key, fields, {"life": "incarnation"})
            rename(changes, f"{key}:steps", steps, {n: later(n) for n in steps if later(n) != n})
            for name, text in steps.items():
                if name.endswith(".result") and '"beside":' in text:
                    changes.hset(f"{key}:steps", name, with_sidecars(text))
            if fields["state"] in ENDED:
                changes.zadd(self.connection.key("ended"), {build: float(fields["ended"])})
        self.connection.run(changes)

    def _migrate_hosts(self, hosts: list[str]) -> None:
        changes = self.connection.client.pipeline(transaction=True)
        for host in hosts:
            key = self.connection.key("host", host)
            with self.connection.reaching() as client:
                rename(changes, key, client.hgetall(key), {"life": "incarnation"})
        self.connection.run(changes)

    def _read(self, builds: list[str]) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
        """The fields of each build that may change, and its steps."""
        names = ("state", "ended", "life")
        pipeline = self.connection.client.pipeline(transaction=False)
        for build in builds:
            pipeline.hmget(self.connection.key("build", build), names)
            pipeline.hgetall(self.connection.key("build", build, "steps"))
        found = self.connection.run(pipeline)
        for values, steps in zip(found[::2], found[1::2], strict=True):
            fields = zip(names, values, strict=True)
            yield {name: text for name, text in fields if text is not None}, steps

    def _builds(self) -> list[str]:
        return Ledger(self.connection).builds(0)

    def _hosts(self) -> list[str]:
        return [host.name for host in Hosts(self.connection).all()]

    # Exclusive access

    def _require_no_hosts(self) -> None:
        now = Ledger(self.connection).now()
        hosts = Hosts(self.connection).all()
        if running := [host.name for host in hosts if host.alive(now, self.lease_s)]:
            raise HostUnfit(
                f"workers are running: {', '.join(running)}",
                f"stop them; one that was killed counts as gone after {self.lease_s:.0f} s",
            )

    @contextmanager
    def _leading(self) -> Iterator[Callable[[], None]]:
        """Lead instead of a supervisor; yields a function to call before each change."""
        key, token = self.connection.key("leader"), f"migration-{uuid4().hex}"

        def hold() -> None:
            with self.connection.reaching() as client:
                if client.get(key) != token:
                    raise _led()
                client.expire(key, LEAD_S)

        with self.connection.reaching() as client:
            if not client.set(key, token, nx=True, ex=LEAD_S):
                raise _led()
        try:
            yield hold
        finally:
            with self.connection.reaching() as client:
                if client.get(key) == token:
                    client.delete(key)


def _led() -> HostUnfit:
    return HostUnfit(
        "a supervisor or another migration is running",
        f"stop all supervisors; after one was killed, wait up to {LEAD_S} s",
    )


def rename(changes: Any, key: str, fields: Mapping[str, str], names: Mapping[str, str]) -> None:
    """Rename the fields of the hash at `key`, from the keys of `names` to their values."""
    for old, new in names.items():
        if old in fields:
            changes.hsetnx(key, new, fields[old])
            changes.hdel(key, old)


def later(name: str) -> str:
    """What schema 2 calls the field `name` of a build's steps."""
    return f"{name.removesuffix('.again')}.repeated" if name.endswith(".again") else name


def with_sidecars(result: str) -> str:
    """The result of a step in schema 2, where `beside` is called `sidecars`."""
    found = msgspec.json.decode(result)
    if "beside" in found:
        found["sidecars"] = found.pop("beside")
    return msgspec.json.encode(found).decode()
