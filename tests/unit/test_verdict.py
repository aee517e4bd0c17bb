"""What is made of an error that ended a step, and what makes a host unfit."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.errors import (
    BuildCancelled,
    BuildFailed,
    CheckpointLost,
    HookFailed,
    HostUnfit,
    PackFailed,
    SourceFailed,
    StagefarmError,
    Stale,
    StepKilled,
    TimedOut,
    of_step,
)
from tasks.model import Source, SourceType
from tasks.settings import Settings
from tasks.worker.fitness import Fitness, clock_off, disk_full, unfit, unfit_for
from tasks.worker.journal import Journal, Order
from tasks.worker.verdict import How, judge
from tests.builds import any_build

FULL = "the disk of /s is full"


@pytest.mark.parametrize(
    ("error", "full", "how"),
    [
        (HookFailed("exited with 1"), "", How.FAILED),
        (SourceFailed("404"), "", How.FAILED),
        (PackFailed("its sha256 differs"), "", How.FAILED),
        (TimedOut("4 s"), FULL, How.FAILED),
        (ValueError("a mistake of ours"), "", How.FAILED),
        (HookFailed("exited with 1"), FULL, How.UNFIT),
        (PackFailed("/o/x.tar: No space left on device"), "", How.UNFIT),
        (SourceFailed("no space left: tar: Wrote only 3 of 10"), "", How.UNFIT),
        (HostUnfit("cannot mount"), "", How.UNFIT),
        (OSError(errno.EROFS, "Read-only file system", "/s/x"), "", How.UNFIT),
        (StepKilled("killed by signal 9"), "", How.LOST),
        (CheckpointLost("gone"), "", How.HANDED_BACK),
        (Stale("taken over"), "", How.STALE),
        (BuildCancelled("enough"), "", How.CANCELLED),
    ],
)
def test_whose_fault_an_error_is(error: Exception, full: str, how: How) -> None:
    verdict = judge(error, None, full)
    assert verdict.how is how
    assert full in str(verdict.error) or how is How.FAILED
    assert verdict.from_start is isinstance(error, CheckpointLost)


@pytest.mark.parametrize(
    ("order", "how"),
    [
        (Order.CANCEL, How.CANCELLED),
        (Order.STALE, How.STALE),
        (Order.HAND_BACK, How.HANDED_BACK),
    ],
)
def test_an_order_comes_before_the_error_that_it_made(order: Order, how: How) -> None:
    verdict = judge(StepKilled("killed by signal 9"), (order, "said so"))
    assert (verdict.how, str(verdict.error)) == (how, "said so")


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, HostUnfit),
        (errno.EIO, HostUnfit),
        (errno.EROFS, HostUnfit),
        (errno.ENOENT, BuildFailed),
        (errno.ENOTDIR, BuildFailed),
        (errno.ELOOP, BuildFailed),
    ],
)
def test_what_the_system_refuses_a_step(number: int, kind: type[StagefarmError]) -> None:
    assert type(of_step(OSError(number, "words", "/there"))) is kind


def test_a_failure_outlives_the_process_that_saw_it(tmp_path: Path) -> None:
    Journal(tmp_path).failed(HookFailed("exited with 7", "look at it"))
    found = Journal(tmp_path).failure()
    assert isinstance(found, HookFailed)
    assert (str(found), found.hint) == ("exited with 7", "look at it")


def test_a_clock_that_is_far_off() -> None:
    assert clock_off(1000.0, 1299.0) == ""
    assert clock_off(1000.0, 2000.0) == "its clock is 1000 s behind the farm's"
    assert clock_off(2000.0, 1000.0) == "its clock is 1000 s ahead of the farm's"
    fitness = Fitness(Settings())
    fitness.hear(0.0)
    assert "ahead of the farm's" in fitness.reason


def test_a_host_that_lacks_something(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    settings = Settings(state_dir=str(tmp_path / "state"), disk_free_min_bytes=1)
    assert unfit(settings) == ""
    store = replace(settings, store_url=(tmp_path / "file/store").as_uri())
    assert unfit(store) == f"cannot write to the store: {tmp_path}/file/store: Not a directory"
    state = replace(settings, state_dir=str(tmp_path / "file"))
    assert unfit(state).startswith("cannot write to the state folder: ")
    short = replace(settings, disk_free_min_bytes=10**16)
    assert unfit(short).endswith(" MiB wanted")
    monkeypatch.setenv("PATH", "/nowhere")
    assert unfit(settings).startswith("this machine has no mount, ")


@pytest.mark.root
def test_a_build_that_wants_more_than_a_host_has(monkeypatch: pytest.MonkeyPatch) -> None:
    build = any_build()
    signed = Source(type=SourceType.HTTP, uri="http://h/x.tar", keyring="keys.gpg")
    packages = Source(type=SourceType.ANISE)
    assert unfit_for(build) == ""
    monkeypatch.setenv("PATH", "/nowhere")
    assert "gpgv" in unfit_for(replace(build, source=signed))
    assert "anise" in unfit_for(replace(build, source=packages))


@pytest.fixture
def small_disk(tmp_path: Path, can_isolate: None) -> Iterator[Path]:
    """A full disk, as another mount namespace sees it."""
    script = f"mount -t tmpfs -o size=1m none {tmp_path} && echo && exec sleep 600"
    words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout
            assert holder.stdout.readline() == b"\n"
            yield Path(f"/proc/{holder.pid}/root{tmp_path}")
        finally:
            holder.kill()


@pytest.mark.root
def test_a_full_disk(small_disk: Path, tmp_path: Path) -> None:
    assert disk_full(small_disk) == f"the disk of {small_disk} is full"
    assert disk_full(tmp_path) == ""
