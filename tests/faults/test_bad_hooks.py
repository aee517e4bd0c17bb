"""Hooks that misbehave, and hosts whose disk is full."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.host import cgroup
from tasks.ledger.logs import Logbook
from tasks.model import BuildState, Hook, HookType
from tests.farm import Farm, sleepers
from tests.farm_builds import hook
from tests.waiting import eventually

pytestmark = [pytest.mark.redis, pytest.mark.root]
Settled = Callable[..., None]


@pytest.mark.parametrize(
    ("size", "said"), [("500M", "command exited with 1: the disk of "), ("60M", "o space left")]
)
def test_a_build_that_fills_the_disk_of_a_host_is_given_to_another(
    farm: Farm, settled: Settled, size: str, said: str
) -> None:
    """In a hook, and while packing. The host goes on with other jobs."""
    farm.worker("one", within=tmpfs(farm, "one", "120m"))
    (full,) = farm.submit(farm.build(f"head -c {size} /dev/urandom > /big", name="full"))

    def refused() -> bool:
        why = farm.command("why", full.id).stdout
        return said in why and "builds no full" in why

    assert eventually(refused, 60.0), farm.logs()
    settled(*farm.submit(farm.build(name="after")))
    farm.worker("two")
    settled(full)
    assert farm.record(full).host == "two"
    assert {attempt.how for attempt in farm.ledger.attempts(full.id)} == {
        "handed back",
        "succeeded",
    }


def test_a_host_short_of_disk_takes_nothing_and_says_why(farm: Farm, settled: Settled) -> None:
    farm.quick["disk_free_min_bytes"] = 10**16
    farm.worker("small")
    (build,) = farm.submit(farm.build(name="big"))
    assert eventually(lambda: "MiB wanted" in farm.command("why", build.id).stdout)
    (host,) = json.loads(farm.command("workers", "--json").stdout)
    assert host["state"].startswith("refuses: ")
    assert farm.record(build).state is BuildState.QUEUED
    farm.quick["disk_free_min_bytes"] = 1
    farm.worker("large")
    settled(build)
    assert farm.record(build).host == "large"


def test_time_limits_end_a_build_with_their_reason(farm: Farm, settled: Settled) -> None:
    farm.quick["idle_limit_s"] = 1.5
    farm.worker("one", slots=2)
    chatty = "while :; do echo still here; sleep 0.2; done"
    slow, idle = farm.submit(
        farm.build(chatty, name="slow", timeout_s=4.0), farm.build("sleep 600", name="idle")
    )
    settled(slow, idle, state=BuildState.FAILED)
    assert farm.record(slow).error == farm.record(idle).error == "TimedOut"
    assert "4" in farm.record(slow).reason
    assert "1.5" in farm.record(idle).reason


def test_what_a_hook_leaves_running_ends_with_its_step(farm: Farm, settled: Settled) -> None:
    farm.worker("one")
    daemon = "(setsid sleep 600 </dev/null >/dev/null 2>&1 & disown); true"
    wait = f"while ! test -e {farm.folder}/go; do sleep 0.1; done"
    (build,) = farm.submit(farm.build_of((hook(daemon),), (outer(wait),)))
    farm.wait_step(build, 2)
    assert eventually(lambda: not sleepers_of(farm, "600"))
    (farm.folder / "go").touch()
    settled(build)


def test_a_hook_that_fills_the_log_is_bounded(farm: Farm, settled: Settled) -> None:
    farm.quick |= {"log_limit_lines": 1_000, "log_file_limit_bytes": 1_000_000}
    farm.worker("one")
    (build,) = farm.submit(farm.build("seq -f 'line %.0f of many, many lines' 300000; echo last"))
    settled(build)
    kept = [entry.line.text for entry in Logbook(farm.ledger.connection).read(build.id)]
    assert "last" in kept, "the newest lines are kept"
    assert len(kept) < 3_000
    log = farm.store / build.id / build.id / "1" / "build.log"
    assert log.stat().st_size < 1_100_000
    assert "log truncated" in log.read_text()


def test_a_hook_that_forks_without_end_harms_nobody_else(farm: Farm, settled: Settled) -> None:
    if cgroup._base("pids") is None:
        pytest.skip("no control groups with a pids limit here")
    farm.quick["pids_max"] = 200
    farm.worker("one", slots=2)
    bomb = "bomb() { bomb | bomb & sleep 600; }; bomb; wait; sleep 600"
    bad, good = farm.submit(farm.build(bomb, name="bomb"), farm.build("echo fine", name="good"))
    farm.wait(good)
    farm.ledger.cancel(bad.id, "enough")
    farm.wait(bad)
    settled(good)
    settled(bad, state=BuildState.CANCELLED)


def tmpfs(farm: Farm, host: str, size: str) -> list[str]:
    """Words that start a command with a small disk of its own as the host's state folder."""
    state = farm.folder / "hosts" / host
    state.mkdir(parents=True)
    mount = f'mount -t tmpfs -o size={size} small "$0" && exec "$@"'
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", mount, str(state)]


def outer(command: str) -> Hook:
    return hook(command, kind=HookType.OUTER_POST_CHROOT)


def sleepers_of(farm: Farm, seconds: str) -> list[int]:
    return [
        pid
        for pid in sleepers(farm)
        if seconds in Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    ]
