"""Processes killed where it hurts."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.artifacts.gate_tests import parse
from tasks.model import Bind, Build, BuildState, HookType
from tests.farm import Farm, kill_all, lose_power, pool_children, sleepers
from tests.farm_builds import attempts_begun, go, hanging, hangs, hook
from tests.waiting import eventually

pytestmark = [pytest.mark.redis, pytest.mark.root, pytest.mark.slow]
Settled = Callable[..., None]


def test_the_main_process_is_killed_and_another_host_builds(farm: Farm, settled: Settled) -> None:
    farm.start(["supervisor"])
    one = farm.worker("one")
    (build,) = farm.submit(hanging(farm))
    hangs(farm, build)
    one.kill()
    assert eventually(lambda: not sleepers(farm)), "the tree outlives its worker"
    go(farm)
    farm.worker("two")
    assert farm.wait(build)[0].host == "two"
    assert attempts_begun(farm, build) == ["1", "2"]
    # What is left on the lost host goes when its worker is back.
    farm.worker("one")
    settled(build)


def test_the_main_process_is_killed_and_comes_back(farm: Farm, settled: Settled) -> None:
    one = farm.worker("one")
    (build,) = farm.submit(hanging(farm))
    hangs(farm, build)
    one.kill()
    one.wait()
    go(farm)
    farm.worker("one")  # no supervisor: the host itself gives up what its earlier life held
    settled(build)
    assert attempts_begun(farm, build) == ["1", "2"]
    (first, _) = farm.ledger.attempts(build.id)
    assert (first.how, first.reason) == ("lost", "the worker on one was started again")


def test_killed_workers_leave_nothing_in_the_temporary_folder_of_the_host(
    farm: Farm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    own = farm.settings_of("one").state / "tmp"
    left: set[str] = set()
    for _ in range(3):
        one = farm.worker("one")
        made = {path.name for path in own.iterdir()}
        assert any(name.startswith("pymp-") for name in made), "the pool's"
        assert not made & left, "of a worker that was killed"
        left |= made
        lose_power(one)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_process_of_the_pool_is_killed(farm: Farm, settled: Settled) -> None:
    one = farm.worker("one")
    (build,) = farm.submit(hanging(farm))
    hangs(farm, build)
    go(farm)
    kill_all(pool_children(one))
    settled(build)
    assert attempts_begun(farm, build) == ["1", "2"]
    (first, _) = farm.ledger.attempts(build.id)
    assert (first.how, first.reason) == ("lost", "the worker's process died in step 1")


def test_the_process_of_a_step_is_killed(farm: Farm, settled: Settled) -> None:
    """That is no failure of the job: it is tried again."""
    farm.worker("one")
    (build,) = farm.submit(hanging(farm))
    hangs(farm, build)
    go(farm)
    (outer, _) = (farm.folder / f"hosts/one/builds/{build.id}.1/tree.pid").read_text().split()
    kill_all([int(pid) for pid in children(int(outer))])
    settled(build)
    assert attempts_begun(farm, build) == ["1", "2"]
    (first, _) = farm.ledger.attempts(build.id)
    assert (first.how, first.reason) == (
        "lost",
        "outer-pre-chroot hooks.yaml: the step's process was killed by signal 9",
    )


def test_a_failure_is_told_though_the_process_that_saw_it_is_killed(
    farm: Farm, settled: Settled
) -> None:
    one = farm.worker("one")
    (build,) = farm.submit(hanging(farm, "while ! test -e go; do sleep 0.1; done; exit 7"))
    hangs(farm, build)
    home = farm.folder / f"hosts/one/builds/{build.id}.1"
    farm.redis.kill()
    (home / "context/go").touch()
    journal = home / "journal.jsonl"
    assert eventually(lambda: journal.exists() and '"HookFailed"' in journal.read_text())
    kill_all(pool_children(one))
    farm.redis.start()
    settled(build, state=BuildState.FAILED)
    assert farm.record(build).error == "HookFailed"
    assert attempts_begun(farm, build) == ["1"]


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


@pytest.mark.parametrize(("deaths", "attempts"), [(1, ["1"]), (2, ["1", "2"])])
def test_a_process_of_the_pool_is_killed_while_publishing(
    farm: Farm, settled: Settled, deaths: int, attempts: list[str]
) -> None:
    """It costs the publishing, not the build; but not for ever."""
    one = farm.worker("one")
    build = publishes_late(farm)
    tokens: set[str] = set()
    for _ in range(deaths):
        assert eventually(lambda: publishing(farm, build) - tokens, 60.0), farm.logs()
        tokens.update(publishing(farm, build))
        if len(tokens) == deaths:
            go_on_publishing(farm)
        kill_all(pool_children(one))
    settled(build)
    assert attempts_begun(farm, build) == attempts


def test_a_process_of_the_pool_is_killed_while_packing(farm: Farm, settled: Settled) -> None:
    one = farm.worker("one")
    go(farm)
    big = hook("head -c 12000000 /dev/urandom > /big")
    build = farm.build_of(hanging(farm).steps[1].hooks, (big,), name="pack")
    (build,) = farm.submit(replace(build, output=replace(build.output, name="pack.tar.xz")))
    farm.wait_step(build, 3)
    kill_all(pool_children(one))
    assert farm.wait(build)[0].artifacts
    assert attempts_begun(farm, build) == ["1"]
    again = farm.ledger.connection.client.hexists(f"test:build:{build.id}:steps", "1.3.repeated")
    assert again, "it packed too quickly for this test"


def test_a_process_of_the_pool_is_killed_while_testing(farm: Farm, settled: Settled) -> None:
    """It costs the tests, which are run once more, not the build."""
    shared = farm.folder / "shared"
    shared.mkdir()
    note = "echo begun >> /shared/notes; touch /mark; test -e /shared/go || exec sleep 600"
    test = hook(f"test ! -e /mark && {{ {note}; }}", kind=HookType.GATE)
    bind = Bind(source=str(shared), target="/shared")
    one = farm.worker("one")
    (build,) = farm.submit(farm.build_of((replace(test, chroot_binds=(bind,)),), name="tested"))
    assert eventually((shared / "notes").exists, 60.0), farm.logs()
    (shared / "go").touch()
    kill_all(pool_children(one))
    settled(build)
    assert (shared / "notes").read_text() == "begun\n" * 2
    assert [attempt.number for attempt in farm.ledger.attempts(build.id)] == [1]
    (results,) = farm.store.rglob("tested.tar.tests.json")
    tests = {test.name: test.outcome for test in parse(results.read_bytes(), "it")}
    assert (tests["shell"], tests["work"]) == ("passed", "passed")


def publishes_late(farm: Farm) -> Build:
    """A build whose tarball is a pipe that nobody writes to, until `go_on_publishing`."""
    go(farm)
    hold = (
        f"test -e {farm.folder}/published || "
        '{ cd "$MARKDEVKIT_OUTPUTDIR"; mv "$MARKDEVKIT_OUTPUTNAME" held; '
        'mkfifo "$MARKDEVKIT_OUTPUTNAME"; }'
    )
    groups = (hanging(farm).steps[1].hooks, (hook(hold, kind=HookType.OUTER_POST_OUTPUT),))
    (build,) = farm.submit(farm.build_of(*groups, name="late"))
    return build


def publishing(farm: Farm, build: Build) -> set[str]:
    """Who publishes: the token of the process that runs the last step."""
    key = f"test:build:{build.id}:steps"
    return set(filter(None, [farm.ledger.connection.client.hget(key, "1.4.token")]))


def go_on_publishing(farm: Farm) -> None:
    (farm.folder / "published").touch()
    (held,) = (farm.folder / "hosts").rglob("held")
    held.rename(held.with_name("late.tar"))


def test_the_shell_of_a_hook_is_killed(farm: Farm, settled: Settled) -> None:
    farm.worker("one")
    (build,) = farm.submit(hanging(farm))
    hangs(farm, build)
    assert eventually(lambda: sleepers(farm))
    kill_all(sleepers(farm))
    settled(build, state=BuildState.FAILED)
    assert farm.record(build).error == "HookFailed"


def test_a_host_that_dies_three_times_fails_the_build_with_its_history(
    farm: Farm, settled: Settled
) -> None:
    (build,) = farm.submit(hanging(farm))
    worker = farm.worker("one")
    for attempt in (1, 2, 3):
        hangs(farm, build, attempt)
        lose_power(worker)
        worker = farm.worker("one")
    settled(build, state=BuildState.FAILED)
    died = "on one at step 1: the worker on one was started again"
    assert farm.record(build).reason == (
        f"lost 3 times: attempt 1 {died}; attempt 2 {died}; attempt 3 {died}"
    )


def test_the_supervisor_is_killed_and_a_second_takes_over(farm: Farm, settled: Settled) -> None:
    first = farm.start(["supervisor"])
    assert eventually(lambda: farm.ledger.connection.client.exists("test:leader"))
    farm.start(["supervisor"])
    one = farm.worker("one")
    (build,) = farm.submit(hanging(farm))
    hangs(farm, build)
    first.kill()
    lose_power(one)
    go(farm)
    farm.worker("two")
    assert farm.wait(build)[0].host == "two"
    farm.worker("one")
    settled(build)


def test_power_is_lost_in_every_step(farm: Farm, settled: Settled) -> None:
    """Two builds at a time on two hosts that take turns to lose power."""
    farm.quick["attempts_max"] = 9
    farm.start(["supervisor"])
    builds = farm.submit(*[farm.build("sleep 0.5", name="victim") for _ in range(4)])
    workers = {name: farm.worker(name, slots=2) for name in ("one", "two")}
    for name, step in (("one", 0), ("two", 1), ("one", 2)):
        assert eventually(lambda at=step: reached(farm, builds, at))  # type: ignore[misc]
        lose_power(workers[name])
        workers[name] = farm.worker(name, slots=2)
    settled(*builds)


def reached(farm: Farm, builds: list[Build], step: int) -> bool:
    records = farm.ledger.records(build.id for build in builds)
    return any(record.state.ended or record.step >= step for record in records)


def test_term_lets_the_running_step_end_and_hands_the_build_back(
    farm: Farm, settled: Settled
) -> None:
    one = farm.worker("one")
    (build,) = farm.submit(hanging(farm, "sleep 1"))
    hangs(farm, build)
    one.send_signal(signal.SIGTERM)
    assert one.wait(30) == 0
    record = farm.record(build)
    assert (record.state, record.attempt) == (BuildState.QUEUED, 2)
    go(farm)
    farm.worker("two")
    settled(build)
    (first, _) = farm.ledger.attempts(build.id)
    assert (first.how, first.step) == ("handed back", 1)


def test_term_ends_a_step_that_outlasts_the_grace_time(farm: Farm, settled: Settled) -> None:
    farm.quick["stop_grace_s"] = 0.5
    one = farm.worker("one")
    (build,) = farm.submit(hanging(farm))
    hangs(farm, build)
    one.send_signal(signal.SIGTERM)
    assert one.wait(30) == 0
    assert not sleepers(farm)
    assert farm.record(build).state is BuildState.QUEUED
    go(farm)
    farm.worker("two")
    settled(build)


def test_a_drained_host_finishes_and_stays_drained_over_a_restart(
    farm: Farm, settled: Settled, tmp_path: Path
) -> None:
    one = farm.worker("one")
    (first,) = farm.submit(hanging(farm))
    hangs(farm, first)
    farm.command("drain", "one")
    (second,) = farm.submit(farm.build(name="second"))
    go(farm)
    kill_all(sleepers(farm))
    assert farm.wait(first)[0].host == "one", "it may finish what it had begun"
    one.send_signal(signal.SIGTERM)
    assert one.wait(30) == 0
    farm.worker("one")
    assert farm.record(second).state is BuildState.QUEUED
    farm.command("undrain", "one")
    settled(second)
