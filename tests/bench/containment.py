"""What containment costs: a step with one command and one with many, contained and with the host's
privileges, in turn. `python -m tests.bench.containment`, as root."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from orchestrator.demo.seed import make_seed
from tasks.model import Build, HookType, Privileges
from tasks.step.launcher import perform
from tests.farmer import Farmer

ROUNDS = 15
MANY = 21


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        seed = Path(folder, "seed.tar")
        make_seed(seed)
        farmer = Farmer(Path(folder), seed)
        one, many = (_medians_s(farmer, commands) for commands in (1, MANY))
        for privileges in Privileges:
            command_s = (many[privileges] - one[privileges]) / (MANY - 1)
            print(
                f"{privileges:<10} a step of one command {one[privileges] * 1000:6.1f} ms, "
                f"each further command {command_s * 1000:5.2f} ms"
            )
        for privileges in (Privileges.CONTAINED, Privileges.SANDBOX):
            more_s = one[privileges] - one[Privileges.HOST]
            print(f"{privileges:<10} costs {more_s * 1000:.1f} ms a step (goal: below 30)")


def _medians_s(farmer: Farmer, commands: int) -> dict[Privileges, float]:
    """Seconds that a step with so many commands takes, in turn for each kind of privileges."""
    builds = {
        privileges: farmer.build(
            HookType.INNER_CHROOT, ["exec /bin/true"] * commands, privileges=privileges
        )
        for privileges in Privileges
    }
    workspace = farmer.workspace(builds[Privileges.HOST])
    perform(builds[Privileges.HOST], 0, workspace, farmer.log)

    def step(build: Build) -> None:
        perform(build, 1, workspace, farmer.log)

    steps = {privileges: partial(step, build) for privileges, build in builds.items()}
    for run in steps.values():
        run()
    taken = [{key: _seconds(run) for key, run in steps.items()} for _ in range(ROUNDS)]
    return {key: statistics.median(each[key] for each in taken) for key in steps}


def _seconds(run: Callable[[], None]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
