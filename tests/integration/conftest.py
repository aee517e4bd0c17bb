"""A ledger in a Redis that tests share, for those that want nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tasks.ledger.builds import Ledger
from tasks.settings import Settings
from tests.redis_server import RedisServer


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"), appendonly=False)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def ledger(server: RedisServer) -> Iterator[Ledger]:
    with server.client() as client:
        client.flushall()
    ledger = Ledger.open(Settings(redis_url=server.url, key_prefix="t"))
    yield ledger
    ledger.connection.client.close()


@pytest.fixture
def client(ledger: Ledger) -> Any:
    """The client of `ledger`, for what that has no question for."""
    return ledger.connection.client
