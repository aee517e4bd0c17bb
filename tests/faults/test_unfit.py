"""Hosts that cannot do a build: they give it back and say why, and no build fails for it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.host.binfmt import MACHINES, runnable
from tasks.model import Build, BuildState, ChrootKind, HookType, Source, SourceType
from tests.farm import Farm
from tests.farm_builds import hook
from tests.waiting import eventually

pytestmark = [pytest.mark.redis, pytest.mark.root, pytest.mark.slow]
Settled = Callable[..., None]


def state_of(farm: Farm, host: str) -> str:
    hosts = json.loads(farm.command("workers", "--json").stdout)
    return str(next(item["state"] for item in hosts if item["name"] == host))


def why(farm: Farm, build: Build) -> str:
    return farm.command("why", build.id).stdout


def unusable_store(farm: Farm, host: str) -> list[str]:
    """Words that start a worker whose store is below a file, until `usable`."""
    (farm.folder / host).write_text("no folder")
    return ["env", f"STAGEFARM_STORE_URL={(farm.folder / host / 'store').as_uri()}"]


def usable(farm: Farm, host: str) -> None:
    (farm.folder / host).unlink()
    (farm.folder / host).symlink_to(farm.folder)  # its `store` is the one of the farm


def test_a_host_with_an_unusable_store_fails_nothing(farm: Farm, settled: Settled) -> None:
    farm.worker("bad", slots=2, within=unusable_store(farm, "bad"))
    waiting = farm.submit(*[farm.build(name="many") for _ in range(8)])
    said = "cannot write to the store: "
    assert eventually(lambda: f"bad: takes no new builds: {said}" in why(farm, waiting[0]), 30.0)
    assert state_of(farm, "bad").startswith(f"refuses: {said}")
    records = farm.ledger.records(build.id for build in waiting)
    assert {record.state for record in records} == {BuildState.QUEUED}
    farm.worker("good")
    settled(*waiting)
    records = farm.ledger.records(build.id for build in waiting)
    assert {(record.host, record.attempt) for record in records} == {("good", 1)}
    usable(farm, "bad")
    assert eventually(lambda: state_of(farm, "bad") == "up", 60.0), "it is looked at again"


def test_a_host_looks_at_itself_before_each_claim(farm: Farm) -> None:
    """Its agent has not looked since the store broke."""
    farm.quick |= {"heartbeat_s": 30.0, "lease_s": 90.0}
    farm.worker("one", within=unusable_later(farm))
    (first,) = farm.submit(farm.build(name="first"))
    farm.wait(first, state=BuildState.SUCCEEDED)
    (farm.folder / "one").unlink()
    (farm.folder / "one").touch()
    (build,) = farm.submit(farm.build(name="second"))
    assert eventually(lambda: farm.ledger.refusals(build.id), 30.0), farm.logs()
    assert farm.ledger.attempts(build.id) == []


def test_a_host_whose_state_folder_cannot_be_written_fails_nothing(
    farm: Farm, settled: Settled
) -> None:
    bad = farm.folder / "hosts/bad/builds"
    bad.mkdir(parents=True)
    subprocess.run(["chattr", "+i", str(bad)], check=False)
    try:
        if os.access(bad, os.W_OK):
            pytest.skip("this file system knows no immutable folders")
        farm.worker("bad", slots=2)
        farm.worker("good")
        builds = farm.submit(*[farm.build(name="many") for _ in range(4)])
        assert {record.host for record in farm.wait(*builds)} == {"good"}
        assert state_of(farm, "bad").startswith("refuses: cannot write to the state folder")
        settled(*builds)
    finally:
        subprocess.run(["chattr", "-i", str(bad)], check=True)


def test_a_store_that_fails_while_a_build_runs_is_waited_for(farm: Farm, settled: Settled) -> None:
    """Publishing is tried again; the hooks ran once."""
    farm.quick["store_wait_s"] = 60.0
    farm.worker("one", within=unusable_later(farm))
    (build,) = farm.submit(breaks_the_store(farm))
    log = farm.folder / f"hosts/one/builds/{build.id}.1/build.log"
    assert eventually(lambda: log.exists() and "trying again" in log.read_text(), 60.0), farm.logs()
    mend_the_store(farm)
    settled(build)
    assert notes(farm) == ["1"]
    assert farm.record(build).attempt == 1


def test_a_store_that_fails_for_long_sends_the_build_to_another_host(
    farm: Farm, settled: Settled
) -> None:
    farm.worker("one", within=unusable_later(farm))
    (build,) = farm.submit(breaks_the_store(farm))
    assert eventually(lambda: "one: takes no new builds: cannot write" in why(farm, build), 60.0)
    (first,) = farm.ledger.attempts(build.id)
    assert (first.how, first.reason.split(":")[0]) == (
        "handed back",
        "cannot store to " + str(farm.folder / "one/store" / build.id / build.id / "1"),
    )
    assert farm.record(build).state is BuildState.QUEUED
    farm.worker("two")
    settled(build)
    assert notes(farm) == ["1", "2"]


def test_a_sweep_of_the_store_that_fails_is_no_failure(farm: Farm, settled: Settled) -> None:
    """A leftover of an earlier attempt cannot be removed: its folder holds another one's mount."""
    leave = 'mkdir -p "$0" && mount -t tmpfs none "$0" && touch "$0/x" && exec "$@"'
    build = replace(farm.build(name="swept"), id="swept-1")
    left = farm.store / build.id / build.id / "0.gone.partial"
    words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", leave, str(left)]
    farm.worker("one", within=words)
    (build,) = farm.submit(build)
    (record,) = farm.wait(build)
    assert record.state is BuildState.SUCCEEDED, farm.logs()
    assert record.attempt == 1
    assert "left in the store: not removing" in farm.logs()
    left.rmdir()
    settled(build)


def test_a_build_that_a_host_has_no_program_for_goes_elsewhere(
    farm: Farm, settled: Settled
) -> None:
    """The host refuses the one job, and builds the others."""
    if shutil.which("anise"):
        pytest.skip("this machine has anise")
    farm.worker("one")
    needs = replace(
        farm.build(name="needs"),
        source=Source(type=SourceType.ANISE, anise_packages=("a/b",)),
    )
    (needs,) = farm.submit(needs)
    reason = "the source needs the anise program, which is not installed"
    assert eventually(lambda: reason in why(farm, needs), 30.0), farm.logs()
    shown = "".join(farm.command("workers").stdout.split())
    assert "buildsnoneedsfor" in shown, shown
    settled(*farm.submit(*[farm.build(name="plain") for _ in range(3)]))
    assert farm.record(needs).state is BuildState.QUEUED
    assert farm.ledger.attempts(needs.id) == []
    farm.ledger.cancel(needs.id, "enough")
    settled(needs, state=BuildState.CANCELLED)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"arch": "s390x"}, "cannot run programs of s390x"),
        ({"chroot": ChrootKind.FCHROOT}, "fchroot"),
    ],
)
def test_what_a_host_lacks_is_known_before_it_claims(
    farm: Farm, changes: dict[str, str], reason: str
) -> None:
    if shutil.which("fchroot") or MACHINES["s390x"] in runnable():
        pytest.skip("this machine has them")
    build = farm.build(name="foreign", **changes)
    farm.worker("one", build.queue)
    (build,) = farm.submit(build)
    assert eventually(lambda: reason in why(farm, build), 30.0), why(farm, build)
    assert farm.ledger.attempts(build.id) == []


def test_a_host_that_finds_itself_unfit_in_a_build_gives_it_back(
    farm: Farm, settled: Settled
) -> None:
    """Nothing can be mounted there; its try does not count as a loss."""
    farm.quick |= {"attempts_max": 1, "lease_s": 60.0}
    farm.worker("one", within=with_broken(farm, "mount"))
    (build,) = farm.submit(farm.build(name="mounts"))
    assert eventually(lambda: "builds no mounts for" in why(farm, build), 60.0), farm.logs()
    assert farm.record(build).state is BuildState.QUEUED
    farm.worker("two")
    settled(build)
    assert farm.record(build).host == "two"
    (first, second) = farm.ledger.attempts(build.id)
    assert (first.host, first.how) == ("one", "handed back")
    assert (second.host, second.how) == ("two", "succeeded")


def with_broken(farm: Farm, program: str) -> list[str]:
    """Words that start a command for which `program` always fails."""
    folder = farm.folder / "broken"
    folder.mkdir()
    (folder / program).write_text("#!/bin/sh\necho it is broken >&2\nexit 1\n")
    (folder / program).chmod(0o755)
    return ["env", f"PATH={folder}:{os.environ['PATH']}"]


def unusable_later(farm: Farm) -> list[str]:
    usable_at_first = farm.folder / "one"
    usable_at_first.symlink_to(farm.folder)
    return ["env", f"STAGEFARM_STORE_URL={(usable_at_first / 'store').as_uri()}"]


def breaks_the_store(farm: Farm) -> Build:
    """A build whose last hook makes the store of host `one` unusable, unless it was mended."""
    place = farm.folder / "one"
    note = f"basename $(dirname $PWD) | sed 's/.*[.]//' >> {farm.folder}/notes"
    breaks = (
        f"test -e {farm.folder}/broken || {{ rm {place}; touch {place} {farm.folder}/broken; }}"
    )
    return farm.build_of((hook(note, breaks, kind=HookType.OUTER_POST_OUTPUT),), name="late")


def mend_the_store(farm: Farm) -> None:
    (farm.folder / "one").unlink()
    (farm.folder / "one").symlink_to(farm.folder)


def notes(farm: Farm) -> list[str]:
    return Path(farm.folder / "notes").read_text().split()
