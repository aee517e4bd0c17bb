"""A connection whose every answer is lost once: what is asked again changes nothing."""

from __future__ import annotations

import re
from typing import Any

from tasks.ledger.connection import Connection

KEEP_TIME = {"late", "mark_resent", "refuse", "renew_leases", "scan"}
"""Scripts that say when something was so last: asked again, they may give a later time."""

TIME = re.compile(r"\d+\.\d+")


class AskingTwice(Connection):
    """Runs each script, and runs it again with the same arguments, as redis-py does after a
    time-out: fails if the second answer is another, or anything in Redis is."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection.client, connection.prefix, connection.address)
        self.asked: set[str] = set()

    def script(self, name: str, *args: str | float, through: Any = None) -> Any:
        seen = []
        for _ in range(2):
            answer = super().script(name, *args)
            seen.append(said(name, answer, contents(self)))
        assert seen[1] == seen[0], f"{name}, asked again"
        self.asked.add(name)
        return super().script(name, *args, through=through) if through else answer


def said(name: str, *parts: object) -> list[str]:
    texts = [repr(part) for part in parts]
    return [TIME.sub("TIME", text) for text in texts] if name in KEEP_TIME else texts


def contents(connection: Connection) -> dict[str, object]:
    """Everything under the farm's prefix, and whether it expires."""
    client = connection.client
    read = {
        "string": client.get,
        "hash": lambda key: sorted(client.hgetall(key).items()),
        "set": lambda key: sorted(client.smembers(key)),
        "list": lambda key: client.lrange(key, 0, -1),
        "zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        "stream": client.xrange,
    }
    keys = sorted(client.scan_iter(f"{connection.prefix}:*"))
    return {key: (read[client.type(key)](key), client.ttl(key) >= 0) for key in keys}
