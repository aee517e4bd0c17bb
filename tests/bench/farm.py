"""What the farm itself costs, as ratios within one run on one Redis.

Run by `make bench`, as root. Steps are pretended (`noop_worker`), so that what is measured is the
ledger, the messages and the agent, not bash and tar; the last measurement is of real steps.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from celery import chain

from orchestrator.demo.seed import make_seed
from tasks.model import Build, BuildState, Hook, Step, StepKind
from tests.farm import QUEUE, Farm
from tests.redis_server import RedisServer
from tests.waiting import eventually

LIMIT_S = 300.0
STEPS = 20
USUAL = {"lease_s": 90.0, "heartbeat_s": 2.0, "disk_free_min_bytes": 1}


@contextmanager
def farm_at(folder: Path) -> Iterator[Farm]:
    farm = Farm(folder, folder / "seed.tar", RedisServer(folder / "redis"), quick=dict(USUAL))
    farm.redis.start()
    try:
        yield farm
    finally:
        farm.end()


def noop_worker(farm: Farm, host: str, slots: int) -> subprocess.Popen[bytes]:
    words = ["-m", "tests.bench.noop_worker", "--queue", QUEUE, "--slots", str(slots)]
    process = subprocess.Popen(
        [sys.executable, *words, "--name", host],
        env=farm.environment(host, "worker"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    farm.processes.append(process)
    assert eventually(lambda: farm.incarnation_of(host), LIMIT_S)
    return process


def pretended(farm: Farm, seconds: float, steps: int = 1, lines: int = 0) -> Build:
    """A build of `steps` pretended steps that each take `seconds` and say `lines` lines; it also
    publishes, because that ends a build."""
    hook = Hook(name="h", commands=(str(seconds),), retries=lines)
    hooks = [Step(number=n, kind=StepKind.HOOKS, hooks=(hook,)) for n in range(steps)]
    publish = Step(number=steps, kind=StepKind.PUBLISH)
    return replace(farm.build(name="bench"), steps=(*hooks, publish))


def wait(farm: Farm, builds: list[Build]) -> None:
    """Until all have ended, asking only the counters of their batch."""
    key, wanted = f"test:batch:{builds[0].batch}", str(len(builds))
    client = farm.ledger.connection.client
    assert eventually(lambda: client.hget(key, str(BuildState.SUCCEEDED)) == wanted, LIMIT_S)


def batch(builds: list[Build], name: str) -> list[Build]:
    return [replace(build, batch=name) for build in builds]


def latency(farm: Farm) -> tuple[float, float]:
    """Seconds from one step that does nothing to the next, here and in a bare Celery chain."""
    ours, bare = [], []
    for number in range(7):
        (build,) = farm.submit(*batch([pretended(farm, 0, STEPS)], f"latency{number}"))
        wait(farm, [build])
        times = farm.ledger.step_times(build.id, 1, STEPS)
        ours.append((times[-1][0] - times[0][0]) / (STEPS - 1))
        bare.append(bare_chain(farm, f"test:celery:bare{number}") / (STEPS - 1))
    return statistics.median(ours), statistics.median(bare)


def bare_chain(farm: Farm, key: str) -> float:
    """Seconds from the first to the last of as many links that do nothing, by the same clock."""
    nothing = farm.app.signature("bench.nothing", immutable=True, queue=QUEUE)
    tell = farm.app.signature("bench.tell", args=(key,), immutable=True, queue=QUEUE)
    chain(tell, *[nothing] * (STEPS - 2), tell).apply_async()
    client = farm.ledger.connection.client
    assert eventually(lambda: client.llen(key) == 2, LIMIT_S)
    first, last = client.lrange(key, 0, -1)
    return float(last) - float(first)


def submission(farm: Farm, count: int = 1000) -> float:
    """Builds a second that one submitter brings to the farm."""
    builds = [replace(farm.build(name="rate"), subarch="nobody") for _ in range(count)]
    start = time.perf_counter()
    farm.submit(*builds)
    return count / (time.perf_counter() - start)


def makespan(farm: Farm, count: int = 200, slots: int = 8) -> float:
    """Seconds for `count` builds of one second on `slots` slots, against the ideal."""
    builds = batch([pretended(farm, 1.0) for _ in range(count)], "makespan")
    start = time.perf_counter()
    wait(farm, farm.submit(*builds))
    return (time.perf_counter() - start) / (count / slots)


@dataclass(frozen=True, slots=True)
class Load:
    commands: float
    kib: float


def load(farm: Farm, name: str, count: int, lines: int = 0) -> Load:
    """What one build of four steps costs Redis, the workers' idling in that time included."""
    client = farm.ledger.connection.client
    before = client.info("stats")
    wait(farm, farm.submit(*batch([pretended(farm, 0.05, 4, lines) for _ in range(count)], name)))
    after = client.info("stats")

    def grown(key: str) -> float:
        return float(after[key] - before[key])

    size = grown("total_net_input_bytes") + grown("total_net_output_bytes")
    return Load(grown("total_commands_processed") / count, size / count / 1024)


def say(what: str, value: str, goal: str = "") -> None:
    print(f"{what:58} {value:>14}  {goal}", flush=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as name, farm_at(Path(name)) as farm:
        noop_worker(farm, "one", 1)
        ours, bare = latency(farm)
        say("a step that does nothing, against a bare Celery chain", f"{ours / bare:.2f} times",
            f"goal 3; {ours * 1000:.1f} ms against {bare * 1000:.1f} ms")  # fmt: skip
        say("submission", f"{submission(farm):.0f} builds/s", "goal 150")
    with tempfile.TemporaryDirectory() as name, farm_at(Path(name)) as farm:
        noop_worker(farm, "one", 8)
        say("200 one-second builds on 8 slots, against the ideal",
            f"{makespan(farm):.2f} times", "goal 1.15")  # fmt: skip
        for count, lines in ((10, 0), (100, 0), (10, 1000), (10, 10_000)):
            found = load(farm, f"load{count}.{lines}", count, lines)
            say(f"Redis, each of {count} builds of 4 steps of {lines} log lines",
                f"{found.commands:.0f} commands", f"{found.kib:.0f} KiB")  # fmt: skip
    if os.geteuid() == 0:
        real()


def real() -> None:
    """Whole builds, with their root filesystem, their processes and their tarball."""
    with tempfile.TemporaryDirectory() as name, farm_at(Path(name)) as farm:
        make_seed(farm.seed)
        farm.worker("one", slots=2)
        farm.submit(*(first := batch([farm.build(name="warm")], "warm")))
        wait(farm, first)
        start = time.perf_counter()
        wait(farm, farm.submit(*batch([farm.build("true") for _ in range(10)], "real")))
        each = (time.perf_counter() - start) / 10 * 2
        say("a real build of 4 steps from a warm seed, on one of 2 slots", f"{each:.2f} s")


if __name__ == "__main__":
    main()
