"""A process that publishes on demand, in a child of its own that may be killed at any write.

    python -m tests.publishing

Reads one order a line as JSON, and answers each with one line.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.release.catalog import Catalog, Stage
from orchestrator.release.facts import Fact, Reader
from orchestrator.release.targets import folder as folder_target
from orchestrator.release.views.view import Signer, ViewFile
from tasks.errors import StagefarmError
from tasks.host.files import write_all
from tests.releases import Shop

CHANGES = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class ByName:
    """A view: each tarball by its build's name, and a list of them."""

    def files(self, catalog: Catalog, read: Reader, signer: Signer | None) -> Iterator[ViewFile]:
        for stage in catalog.stages:
            yield ViewFile(path=f"by-name/{stage.build}.tar.zst", body=stage.tarball)
            yield ViewFile(
                path=f"by-name/{stage.build}.txt", content=b"".join(read(stage.sidecars[0]))
            )
        names = "".join(f"{stage.build}\n" for stage in catalog.stages)
        yield ViewFile(path="by-name/list.txt", content=names.encode(), is_index=True)

    def facts(self, catalog: Catalog, stage: Stage, signer: Signer | None) -> Iterator[Fact]:
        yield from ()

    def left_out(self, catalog: Catalog) -> Iterator[str]:
        yield from ()


@dataclass
class Writes:
    """Counts the changes of the file system below a folder, as Python's audit events tell them,
    and each half of a write; the process dies before change `kill_at`."""

    below: str
    kill_at: int
    count: int = 0

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in CHANGES or self.below not in str(arguments[0]):
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & WRITING):
            return
        self.tick()

    def tick(self) -> None:
        self.count += 1
        if self.count == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def write(self, descriptor: int, data: bytes) -> None:
        half = len(data) // 2
        write_all(descriptor, data[:half])
        self.tick()
        write_all(descriptor, data[half:])


def carry_out(order: dict[str, Any]) -> dict[str, Any]:
    """Publish as ordered, and say how that ended."""
    shop = Shop(Path(order["folder"]), url=order["url"], now=order["now"])
    writes = Writes(str(shop.mirror), order["kill_at"])
    sys.addaudithook(writes.hook)
    folder_target.write_all = writes.write  # type: ignore[attr-defined]
    try:
        outcome = shop.publish(*order["builds"], views=[ByName()])
        version, error, failed = outcome.catalog.version, "", list(map(str, outcome.failed))
    except StagefarmError as problem:
        version, error, failed = 0, f"{type(problem).__name__}: {problem}", []
    return {"version": version, "error": error, "failed": failed, "writes": writes.count}


def main() -> None:
    for line in sys.stdin:
        reader, writer = os.pipe()
        if not (child := os.fork()):
            os.close(reader)
            answer = carry_out(json.loads(line))
            os.write(writer, json.dumps(answer).encode())
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            answer = pipe.read()
        os.waitpid(child, 0)
        print(answer or json.dumps({"killed": True}), flush=True)


@dataclass
class PublisherProcess:
    process: subprocess.Popen[str]

    def begin(self, shop: Shop, *builds: str, kill_at: int = 0) -> None:
        order = {"folder": str(shop.folder), "url": shop.url, "now": shop.now}
        line = json.dumps({**order, "builds": builds, "kill_at": kill_at})
        assert self.process.stdin
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def end(self) -> dict[str, Any]:
        assert self.process.stdout
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found

    def publish(self, shop: Shop, *builds: str, kill_at: int = 0) -> dict[str, Any]:
        self.begin(shop, *builds, kill_at=kill_at)
        return self.end()


@contextmanager
def publisher_process() -> Iterator[PublisherProcess]:
    pipe = subprocess.PIPE
    argv = [sys.executable, "-m", "tests.publishing"]
    root = Path(__file__).parents[1]
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True, cwd=root) as process:
        try:
            yield PublisherProcess(process)
        finally:
            process.kill()


if __name__ == "__main__":
    main()
