"""The connection to the farm's Redis: scripts, and one clear error if it does not answer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from tasks.errors import BadInput, FarmUnreachable, HostUnfit
from tasks.ledger.tls import check_files, refusal_of
from tasks.settings import REDIS_HEALTH_CHECK_S, REDIS_TIMEOUT_S, Settings

SCHEMA = "2"
"""The schema of docs/farm.md, which this version writes."""

OLDER_SCHEMA = "1"
"""The schema before, which can be read and migrated (`tasks.ledger.migration`)."""

TRIES = 3
PAUSES = ExponentialBackoff(cap=0.5, base=0.05)
"""How often a command is tried again, and how long to pause before."""

SCHEMES = ("redis", "rediss")
REFUSALS = re.compile(
    r"\b(OOM|MISCONF|READONLY|NOPERM|NOREPLICAS|MASTERDOWN)\b|DB index is out of range"
)
"""Errors of a server that cannot carry out a command, also from within a script."""


class Connection:
    """One farm on one Redis server: its prefix, its scripts, its client.

    The client is untyped: redis-py's types do not cover clients that decode answers.
    """

    def __init__(self, client: Any, prefix: str, address: str) -> None:
        self.client = client
        self.prefix = prefix
        self.address = address
        self._scripts: dict[str, Any] = {}

    def key(self, *parts: str) -> str:
        return ":".join((self.prefix, *parts))

    def script(self, name: str, *args: str | float, through: Any = None) -> Any:
        """Run `lua/<name>.lua`; in `through`, a pipeline, its answer comes with the pipeline's."""
        if name not in self._scripts:
            self._scripts[name] = self.client.register_script(source(name))
        with self.reaching():
            return self._scripts[name](
                keys=[self.key("")], args=args, client=through or self.client
            )

    def run(self, pipeline: Any) -> list[Any]:
        with self.reaching():
            answers: list[Any] = pipeline.execute()
            return answers

    @contextmanager
    def reaching(self) -> Iterator[Any]:
        """Yields the client; raises `FarmUnreachable` if the server does not answer."""
        try:
            yield self.client
        except redis.AuthenticationError as error:
            raise FarmUnreachable(
                f"the farm's Redis at {self.address} refuses the login: {_wanted(error)}",
                "set redis_password_file to a file with the password; a user's name goes into "
                "redis_url, as redis://USER@HOST:PORT/0",
            ) from error
        except (redis.ConnectionError, redis.TimeoutError) as error:
            if refusal := refusal_of(error):
                raise FarmUnreachable(
                    f"no TLS with the farm's Redis at {self.address}: {refusal.reason}",
                    refusal.hint,
                ) from error
            raise FarmUnreachable(
                f"the farm's Redis at {self.address} does not answer: {error}",
                "start it, or set STAGEFARM_REDIS_URL=redis://HOST:PORT/0 (rediss:// for TLS)",
            ) from error
        except redis.ResponseError as error:
            if isinstance(error, STATES) or REFUSALS.search(str(error)):
                raise FarmUnreachable(
                    f"the farm's Redis at {self.address} refuses: {error}",
                    _what_to_check(error),
                ) from error
            raise


STATES = (redis.OutOfMemoryError, redis.ReadOnlyError, redis.exceptions.NoPermissionError)


def _what_to_check(error: redis.ResponseError) -> str:
    if isinstance(error, redis.exceptions.NoPermissionError) or "NOPERM" in str(error):
        return "the user of redis_url may not do that; docs/redis.md says which one may"
    return "check its memory, its disk, and redis_url"


def _wanted(error: redis.AuthenticationError) -> str:
    """The error's message; a plain one if no password was given."""
    return "it requires a password" if str(error).startswith(("HELLO", "NOAUTH")) else str(error)


def connect(settings: Settings) -> Connection:
    """A connection made on first use. `BadInput` if `redis_url` is not one, or a file that TLS
    needs cannot be used."""
    try:
        if urlsplit(settings.redis_url).scheme not in SCHEMES:
            raise ValueError("it has to begin with redis:// or rediss://")
        check_files(settings)
        client = redis.Redis.from_url(
            settings.broker_url(),
            decode_responses=True,
            socket_timeout=REDIS_TIMEOUT_S,
            socket_connect_timeout=REDIS_TIMEOUT_S,
            socket_keepalive=True,
            health_check_interval=REDIS_HEALTH_CHECK_S,
            retry=Retry(PAUSES, TRIES),
            retry_on_error=[redis.ConnectionError, redis.TimeoutError],
            **settings.broker_tls(),
        )
    except ValueError as error:
        raise BadInput(f"redis_url: {error}", "such as redis://127.0.0.1:6379/0") from error
    return Connection(client, settings.key_prefix, address(settings.redis_url))


def address(url: str) -> str:
    """`url` without user and password, fit for messages and logs."""
    parts = urlsplit(url)
    return f"{parts.hostname or parts.path}{f':{parts.port}' if parts.port else ''}"


@cache
def source(name: str) -> str:
    """The text of one script, after the prelude that all scripts share."""
    folder = files("tasks.ledger") / "lua"
    return (folder / "prelude.lua").read_text() + (folder / f"{name}.lua").read_text()


def schema(connection: Connection) -> str:
    """The schema of the ledger, empty where there is none yet."""
    with connection.reaching() as client:
        return str(client.get(connection.key("schema")) or "")


def check_schema(connection: Connection, *, reading: bool = False) -> None:
    """`HostUnfit` if the ledger has a schema that we cannot write, or with `reading` one that we
    cannot read. A new ledger gets our schema when it is first opened for writing."""
    if not reading:
        with connection.reaching() as client:
            client.setnx(connection.key("schema"), SCHEMA)  # a right to create, not to change
    found, where = schema(connection), f"the ledger under {connection.prefix!r}"
    if found == OLDER_SCHEMA and not reading:
        raise HostUnfit(
            f"{where} has schema {found}, this stagefarm writes schema {SCHEMA}",
            "stop workers and supervisors, then run: stagefarm ledger migrate",
        )
    if found not in ("", OLDER_SCHEMA, SCHEMA):
        raise HostUnfit(
            f"{where} has schema {found}, this stagefarm knows schema {SCHEMA}",
            "use a newer stagefarm",
        )


def durability_problems(connection: Connection) -> list[str]:
    """Settings of Redis with which it may lose builds; empty if there are none.

    They are read with INFO: CONFIG shows passwords, so users of a farm should not have it. The
    settings of a server that forbids INFO too are assumed to be right.
    """
    with connection.reaching() as client:
        try:
            persistence, memory = client.info("persistence"), client.info("memory")
        except redis.ResponseError:
            return []
    found = {
        "appendonly": "no" if persistence.get("aof_enabled") == 0 else "yes",
        "maxmemory-policy": memory.get("maxmemory_policy", "noeviction"),
    }
    wanted = {"appendonly": "yes", "maxmemory-policy": "noeviction"}
    return [
        f"{name} is {found[name]!r} and should be {value!r}"
        for name, value in wanted.items()
        if found[name] != value
    ]
