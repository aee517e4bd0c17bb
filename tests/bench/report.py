"""How long a report takes, how much it reads and writes, with many builds in a real Redis.

    python -m tests.bench.report [--builds N] [--stages N] [--folder DIR] [--keep DIR]

The builds are nights of all stages. One of twenty failed, of one of CAUSES causes, with a log of
LOG_LINES lines in the store. Each report is a process of its own.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from orchestrator.report.folder import OWN
from tasks.ledger.builds import Ledger
from tasks.model import Build, encode
from tasks.results import Artifact
from tasks.settings import Settings
from tests.ledgers import a_build
from tests.redis_server import RedisServer
from tests.releases import DAY_S, Shop
from tests.reports import a_cause, a_shop

PREFIX = "t"
QUEUES, CAUSES = 10, 40
FAILS = 20
LOG_LINES = 1000
AT_ONCE = 1000
HOUR_S = 3600.0

REPORT = """
import json, resource, sys, time
from pathlib import Path
from tasks.ledger.builds import Ledger
from tasks.settings import Settings
from tests.reports import a_shop, report
folder, url, now, builds = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
settings = Settings(redis_url=url, key_prefix="t", store_url=(folder / "store").as_uri())
shop, ledger = a_shop(folder), Ledger.open(settings)
began = time.perf_counter()
made = report(shop, ledger, now=now, builds_max=builds, settings=settings)
took = time.perf_counter() - began
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([took, used.ru_utime + used.ru_stime, used.ru_maxrss, made.written,
                  made.written_bytes, made.stages, made.builds]))
"""


def planned(number: int, stages: int) -> Build:
    """The build of a stage in a night."""
    night, stage = divmod(number, stages)
    variant, queue = divmod(stage, QUEUES)
    flavour = f"v{variant:02}"
    return a_build(
        f"stage3-{flavour}-q{queue}-{night:08}-{number:016x}",
        job="stage3",
        batch=f"nightly-{night:08}-{0:016x}",
        subarch=f"sub{queue}",
        environment={"flavour": flavour},
        variant=f"flavour={flavour}",
    )


def seed(ledger: Ledger, numbers: range, stages: int, now: float, log: str) -> None:
    """Builds that have ended, the last of them shortly before `now`."""
    waiting = iter(numbers)
    while some := list(islice(waiting, AT_ONCE)):
        builds = [planned(number, stages) for number in some]
        ledger.submit(builds)
        pipeline = ledger.connection.client.pipeline(transaction=False)
        for number, build in zip(some, builds, strict=True):
            age_s = (numbers.stop - number) // stages * DAY_S
            end(pipeline, build, number, now - age_s - HOUR_S, log)
        pipeline.execute()


def end(pipeline: Any, build: Build, number: int, at: float, log: str) -> None:
    fields: dict[str, Any] = {
        "submitted": at - 1800, "claimed": at - 1700, "ended": at, "host": f"host{number % 30}",
        "step": 2, "url": log, "state": "succeeded",
    }  # fmt: skip
    if number % FAILS == 0:
        lines = [f"/var/tmp/portage/app-misc/screen/pty.c:{n}: error: nothing" for n in range(9)]
        print_ = f"{number // FAILS % CAUSES:016x}"
        cause = a_cause(5, *lines, fingerprint=print_, message=f"undefined symbol {print_}")
        fields |= {"state": "failed", "reason": "hook `world` exited with 1"}
        fields |= {"cause": encode(cause).decode()}
    else:
        name = f"{build.id}.tar.zst"
        size = 300_000_000 + number % 977 * 10_000
        made = Artifact(name=name, path=f"{log}/{name}", size_bytes=size, sha256="ab" * 32)
        fields |= {"artifacts": encode((made,)).decode()}
    pipeline.hset(f"{PREFIX}:build:{build.id}", mapping=fields)
    times = {f"1.{step}.{what}": at - 1700 + 500 * step for step in range(3)
             for what in ("began", "ended")}  # fmt: skip
    pipeline.hset(f"{PREFIX}:build:{build.id}:steps", mapping=times)
    attempt = {"host": "host1", "how": fields["state"], "ended": str(at), "step": "2", "url": log}
    pipeline.hset(f"{PREFIX}:build:{build.id}:attempts", "1", json.dumps(attempt))
    pipeline.zadd(f"{PREFIX}:builds", {build.id: at - 1800})
    pipeline.zadd(f"{PREFIX}:ended", {build.id: at})
    pipeline.zrem(f"{PREFIX}:waiting:{build.queue}", build.id)


def publish(shop: Shop, stages: int) -> None:
    """A build of each stage, of different ages."""
    names = []
    for number in range(stages):
        variant, queue = divmod(number, QUEUES)
        name = f"stage3-published-{number:04}"
        at, flavour = shop.now - number % 12 * DAY_S, f"v{variant:02}"
        shop.put(name, flavour, at=at, subarch=f"sub{queue}", content=b"x" * 100)
        names.append(name)
    shop.publish(*names)


def write_log(shop: Shop) -> str:
    folder = shop.store / "nights/failed/1"
    folder.mkdir(parents=True)
    line = "x86_64-pc-linux-gnu-gcc -O2 -pipe -c pty.c -o pty.o # line"
    lines = (f"2026-11-27T02:30:00+0000 [world] {line} {n}\n" for n in range(LOG_LINES))
    (folder / "build.log").write_text("".join(lines))
    return folder.as_uri()


def measured(what: str, shop: Shop, server: RedisServer, builds: int) -> None:
    with server.client() as client:
        before = calls(client)
        words = [str(shop.folder), server.url, str(shop.now), str(builds)]
        done = subprocess.run(
            [sys.executable, "-c", REPORT, *words], capture_output=True, text=True, check=True
        )
        commands = calls(client) - before
    took, cpu, peak, written, size, stages, known = json.loads(done.stdout)
    print(
        f"{what:<22} {took:8.2f} s   cpu {cpu:8.2f} s   peak {peak / 1024:4.0f} MB   "
        f"{commands:7} commands   {written:7} files, {size / 1e6:8.2f} MB written   "
        f"({stages} stages, {known} builds)",
        flush=True,
    )


def calls(client: Any) -> int:
    return sum(int(one["calls"]) for one in client.info("commandstats").values())


def show_sizes(site: Path) -> None:
    found = {path.relative_to(site): path.stat().st_size for path in files(site)}
    pages = {path: size for path, size in found.items() if path.suffix == ".html"}
    largest = max(pages, key=lambda path: pages[path])
    own = sum(path.stat().st_size for path in (site / OWN).iterdir())
    print(
        f"{len(found)} files, {sum(found.values()) / 1e6:.0f} MB, and {own / 1e6:.0f} MB in {OWN}; "
        f"pages: median {statistics.median(pages.values()):.0f} bytes, "
        f"largest {largest} {pages[largest]}"
    )
    for folder in ("index.html", "status.json", "feed.atom", "causes.html", "hosts.html"):
        print(f"  {folder:<12} {found[Path(folder)]:9} bytes")
    for folder in ("stage", "build", "causes", "log"):
        sizes = [size for path, size in found.items() if path.parts[0] == folder]
        print(
            f"  {folder:<12} {len(sizes):7} pages, median {statistics.median(sizes):.0f} bytes, "
            f"largest {max(sizes)}"
        )


def files(site: Path) -> Iterator[Path]:
    return (path for path in site.rglob("*") if path.is_file() and OWN not in path.parts)


def measure(folder: Path, builds: int, stages: int) -> Path:
    shop = a_shop(folder)
    shop.now = time.time()
    began = time.perf_counter()
    publish(shop, stages)
    shop.now = time.time()
    log = write_log(shop)
    server = RedisServer(folder / "redis", appendonly=False)
    server.start()
    try:
        ledger = Ledger.open(Settings(redis_url=server.url, key_prefix=PREFIX))
        seed(ledger, range(builds), stages, shop.now, log)
        with server.client() as client:
            memory = client.info("memory")["used_memory_human"]
        print(
            f"{builds} builds of {stages} stages in {folder}, seeded within "
            f"{time.perf_counter() - began:.0f} s, Redis has {memory}"
        )
        measured("first report", shop, server, builds)
        shop.now += 60
        measured("nothing new", shop, server, builds)
        seed(ledger, range(builds, builds + 10), stages, shop.now, log)
        shop.now += 60
        measured("10 builds are new", shop, server, builds)
        ledger.connection.client.xtrim(f"{PREFIX}:events", maxlen=0, approximate=False)
        shop.now += 60
        measured("everything is read", shop, server, builds)
    finally:
        server.kill()
    show_sizes(folder / "site")
    return folder / "site"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--builds", type=int, default=100_000)
    parser.add_argument("--stages", type=int, default=500)
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm"), help="where to work")
    parser.add_argument("--keep", type=Path, help="copy the site to this folder")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="stagefarm-bench-") as name:
        site = measure(Path(name), given.builds, given.stages)
        if given.keep:
            shutil.copytree(site, given.keep)


if __name__ == "__main__":
    main()
