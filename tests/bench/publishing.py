"""How long publishing takes, and what it asks of a mirror, with most bodies there already.

python -m tests.bench.publishing [--stages N] [--bytes N] [--folder DIR]
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from orchestrator.formats.releasefile import ViewKind
from orchestrator.release.facts import Facts
from orchestrator.release.publication import Outcome
from orchestrator.release.views.chosen import views_of
from tests.releases import Served, Shop

LIMIT_S = 10.0


def measured(
    what: str, served: Served, publish: Callable[[], Outcome], goal_s: float = 0.0
) -> None:
    served.requests.clear()
    began = time.perf_counter()
    outcome = publish()
    took = time.perf_counter() - began
    assert not outcome.failed
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    gets = sum(method == "GET" for method, _ in served.requests)
    heads = len(served.requests) - gets
    met = "" if not goal_s else f"   goal {goal_s:g} s  {'met' if took < goal_s else 'MISSED'}"
    print(
        f"{what:<52} {took:7.2f} s  {outcome.written_bytes / 1e6:8.1f} MB written  "
        f"{gets:5} GET {heads:5} HEAD  peak {peak:.0f} MB{met}",
        flush=True,
    )


def measure(folder: Path, stages: int, size_bytes: int) -> None:
    shop = Shop(folder, now=time.time() - 10 * 3600)
    print(f"{stages} stages of {size_bytes / 1e6:.1f} MB, views gentoo and sha256sums, in {folder}")
    for number in range(stages):
        content = os.urandom(size_bytes)
        shop.put(f"a{number}-1", f"v{number}", content=content)
    shop.mirror.mkdir()
    facts = Facts(folder / "facts")
    views = views_of((ViewKind.GENTOO, ViewKind.SHA256SUMS), facts)
    with Served(shop.mirror) as served:
        shop.url = served.url
        how = {"views": views, "facts": facts}
        everything = [f"a{number}-1" for number in range(stages)]
        measured("all for the first time", served, lambda: shop.publish(*everything, **how))
        shop.now += 3600
        shop.put("a0-2", "v0", content=os.urandom(size_bytes))
        measured(
            "one stage new, the others there", served, lambda: shop.publish("a0-2", **how), LIMIT_S
        )
        shop.now += 3600
        measured("rolled back", served, lambda: shop.publisher(**how).roll_back(1), LIMIT_S)
        testing = replace(shop.release(), channel="testing")
        measured(
            "all to another channel, whose bodies are there",
            served,
            lambda: shop.publish(*everything, **how, release=testing),
            LIMIT_S,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stages", type=int, default=200)
    parser.add_argument("--bytes", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="stagefarm-bench-") as name:
        measure(Path(name), given.stages, given.bytes)


if __name__ == "__main__":
    main()
