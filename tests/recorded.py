"""A ledger as an older stagefarm left it, from a file of keys, types and values.

Text in it stands for bytes, as Latin-1; `@FARM@` for the folder of the farm.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import redis

LEDGER_01 = Path(__file__).parent / "data/ledger-0.1.json"
"""What stagefarm 0.1.0 wrote: builds that succeeded, failed (one with a checkpoint), run (at the
second attempt, on a host that was killed), wait, are blocked, and were cancelled; of two hosts."""


def load(file: Path, client: redis.Redis, folder: Path) -> None:
    """Put what `file` holds into an empty Redis, for a farm in `folder`."""
    for key, item in json.loads(file.read_text().replace("@FARM@", str(folder))).items():
        store(client, key, item["type"], item["value"])


def store(client: redis.Redis, key: str, kind: str, value: Any) -> None:
    match kind:
        case "string":
            client.set(key, value.encode("latin-1"))
        case "hash":
            client.hset(key, mapping={name: text.encode("latin-1") for name, text in value.items()})
        case "set":
            client.sadd(key, *value)
        case "zset":
            client.zadd(key, value)
        case "list":
            client.rpush(key, *(text.encode("latin-1") for text in value))
        case "stream":
            for id_, fields in value:
                client.xadd(key, fields, id=id_)


def dump(client: redis.Redis) -> dict[str, Any]:
    """Every key and its value; of a context, whose value is no text, only that it is there."""
    read = {
        "string": lambda key: "" if ":context:" in key else client.get(key),
        "hash": client.hgetall,
        "set": client.smembers,
        "zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        "list": lambda key: client.lrange(key, 0, -1),
        "stream": client.xrange,
    }
    return {key: read[client.type(key)](key) for key in sorted(client.keys())}
