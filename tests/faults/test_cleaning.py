"""Folders that cannot be removed: the verdict is told all the same, and the farm goes on."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tasks.errors import BuildFailed
from tasks.ledger.answers import CancelOutcome, ClaimedAttempt, Holder
from tasks.model import Build, BuildState, HookType
from tasks.worker.publisher import Publisher
from tests.farm import Farm, sleepers
from tests.farm_builds import hook
from tests.waiting import eventually

pytestmark = [pytest.mark.redis, pytest.mark.root]
Settled = Callable[..., None]


@dataclass
class Machine:
    """A mount namespace for a host's workers, in which a test can mount something: seen there by
    all of them, and nowhere else."""

    holder: subprocess.Popen[bytes]
    mounted: Path | None = None

    @property
    def within(self) -> list[str]:
        here = Path(__file__).parents[2]
        return ["nsenter", f"--mount=/proc/{self.holder.pid}/ns/mnt", f"--wd={here}", "--"]

    def run(self, *command: str) -> None:
        subprocess.run([*self.within, *command], check=True)

    def hinder(self, home: Path) -> None:
        """Mount something in a build's folder, which then cannot be removed."""
        self.mounted = home / "hindrance"
        self.mounted.mkdir()
        self.run("mount", "-t", "tmpfs", "none", str(self.mounted))

    def unhinder(self) -> None:
        self.run("umount", str(self.mounted))


@pytest.fixture
def machine(can_isolate: None) -> Iterator[Machine]:
    words = ["unshare", "--mount", "--propagation", "private", "sleep", "600"]
    with subprocess.Popen(words) as holder:
        try:
            own, made = (Path(f"/proc/{pid}/ns/mnt") for pid in ("self", holder.pid))
            assert eventually(lambda: made.readlink() != own.readlink())
            yield Machine(holder)
        finally:
            holder.kill()


def home(farm: Farm, build: Build, attempt: int = 1) -> Path:
    return farm.folder / f"hosts/one/builds/{build.id}.{attempt}"


def waits_then(farm: Farm, command: str, name: str) -> Build:
    """A build that waits for `go_on` after it has begun, and then does `command`."""
    wait = f"while ! test -e go; do sleep 0.05; done; {command}"
    (build,) = farm.submit(farm.build_of((hook(wait, kind=HookType.OUTER_PRE_CHROOT),), name=name))
    farm.wait_step(build, 1)
    assert eventually((home(farm, build) / "context").is_dir)
    return build


def go_on(farm: Farm, build: Build) -> None:
    (home(farm, build) / "context/go").touch()


def cleaning(farm: Farm) -> dict[str, str]:
    hosts = json.loads(farm.command("workers", "--json").stdout)
    return {path: reason for host in hosts for path, reason in host["cleaning"].items()}


def test_a_build_whose_folder_cannot_be_removed_succeeds_and_stays_published(
    farm: Farm, settled: Settled, machine: Machine
) -> None:
    farm.worker("one", within=machine.within)
    build = waits_then(farm, "true", "well")
    machine.hinder(home(farm, build))
    go_on(farm, build)
    (record,) = farm.wait(build)
    assert record.state is BuildState.SUCCEEDED, farm.logs()
    settled_while_left(farm, build)
    tarball = Path(urlsplit(record.artifacts[0].path).path)
    assert tarball.is_file()
    (other,) = farm.submit(farm.build(name="other"))
    assert farm.wait(other)[0].state is BuildState.SUCCEEDED
    assert tarball.is_file()
    machine.unhinder()
    settled(build, other)


def settled_while_left(farm: Farm, build: Build) -> None:
    """No process and no lease; the folder is there, and `workers` and `why` say so."""
    reason = f"not removing {home(farm, build)}: something is mounted at "
    assert eventually(lambda: reason in cleaning(farm).get(str(home(farm, build)), ""), 30.0)
    assert f"one cannot clean up after it: {reason}" in farm.command("why", build.id).stdout
    shown = "".join(farm.command("workers").stdout.split())
    assert "cannotcleanup" in shown, shown
    assert not farm.ledger.connection.client.zcard("test:leases")
    assert home(farm, build).exists()


def test_a_build_whose_folder_cannot_be_removed_fails_with_its_own_reason(
    farm: Farm, settled: Settled, machine: Machine
) -> None:
    farm.worker("one", within=machine.within)
    build = waits_then(farm, "exit 7", "badly")
    machine.hinder(home(farm, build))
    go_on(farm, build)
    (record,) = farm.wait(build)
    assert (record.state, record.error) == (BuildState.FAILED, "HookFailed"), farm.logs()
    assert Path(urlsplit(record.url).path, "record.json").is_file()
    settled_while_left(farm, build)
    machine.unhinder()
    settled(build, state=BuildState.FAILED)


def test_cancelling_waits_for_no_folder(farm: Farm, settled: Settled, machine: Machine) -> None:
    farm.worker("one", slots=2, within=machine.within)
    first = waits_then(farm, "true", "first")
    second = waits_then(farm, "true", "second")
    machine.hinder(home(farm, first))
    assert farm.ledger.cancel(first.id, "enough") is CancelOutcome.ASKED
    assert farm.wait(first)[0].state is BuildState.CANCELLED
    assert farm.ledger.cancel(second.id, "enough") is CancelOutcome.ASKED
    assert farm.wait(second)[0].state is BuildState.CANCELLED
    assert eventually(lambda: not home(farm, second).exists())
    assert not sleepers(farm)
    settled_while_left(farm, first)
    machine.unhinder()
    settled(first, second, state=BuildState.CANCELLED)


def test_a_worker_starts_beside_a_folder_that_cannot_be_removed(
    farm: Farm, settled: Settled, machine: Machine
) -> None:
    one = farm.worker("one", within=machine.within)
    build = waits_then(farm, "true", "left")
    machine.hinder(home(farm, build))
    one.kill()
    one.wait()
    one = farm.worker("one", within=machine.within)
    assert eventually(lambda: home(farm, build, 2).exists() or farm.record(build).state.ended)
    (home(farm, build, 2) / "context").mkdir(parents=True, exist_ok=True)
    with suppress(OSError):
        (home(farm, build, 2) / "context/go").touch()
    (record,) = farm.wait(build)
    assert (record.state, record.attempt) == (BuildState.SUCCEEDED, 2), farm.logs()
    settled_while_left(farm, build)
    one.send_signal(signal.SIGTERM)
    assert one.wait(30) == 0, "that a folder is left is no error of the worker"
    farm.worker("one", within=machine.within)
    machine.unhinder()
    settled(build)


def test_a_worker_that_stops_for_an_error_exits_with_its_code(farm: Farm) -> None:
    """The start of its agent fails: it cannot even write its name down."""
    state = farm.folder / "hosts/one"
    (state / "id").mkdir(parents=True)
    said = farm.start(["worker", "--queue", "a.b", "--name", "one"], "one")
    assert said.wait(60) != 0, farm.logs()


def test_an_attempt_that_counts_is_not_published_over(farm: Farm) -> None:
    """A process that comes back late with a failure finds its attempt published."""
    farm.worker("one")
    (build,) = farm.submit(farm.build())
    (record,) = farm.wait(build)
    tarball = Path(urlsplit(record.artifacts[0].path).path)
    before = tarball.stat().st_ino
    claim = ClaimedAttempt(build.id, 1, Holder("one", "late"))
    publisher = Publisher(farm.settings_of("one"), farm.ledger)
    shutil.copy(f"{tarball}.job.json", farm.folder / "job.json")
    assert not publisher.record_failure(claim, farm.folder, BuildFailed("late"))
    publisher.withdraw(claim, build)
    assert tarball.stat().st_ino == before
