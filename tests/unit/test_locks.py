"""Locks: who holds them, who waits, and that a name which was removed is not locked any more."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tasks.host import locks
from tasks.host.locks import (
    exclusive,
    hold_folder,
    is_exclusive,
    is_locked,
    lock,
    try_exclusive,
    try_lock,
    try_lock_folder,
)
from tests.waiting import eventually

HOLD = """
import sys
from contextlib import ExitStack
from pathlib import Path

from tasks.host import locks

with ExitStack() as held:
    exec(sys.argv[1])
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_elsewhere(statement: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that does `statement`, and holds what it holds until the end."""
    command = [sys.executable, "-c", HOLD, statement]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process
        process.communicate()


def holding(path: Path, how: str = "") -> str:
    return f"held.enter_context(locks.lock(Path({str(path)!r}){how}))"


def free(path: Path, *, shared: bool = False) -> bool:
    with try_lock(path, shared=shared) as held:
        return held


def test_a_lock_keeps_others_out_until_its_process_ends(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with held_elsewhere(holding(path)) as process:
        assert not free(path)
        assert not free(path, shared=True)
        process.kill()
        process.wait()
        assert free(path)


def test_a_lock_ends_with_its_block(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with lock(path):
        assert not free(path)
    assert free(path)
    with try_lock(path) as held:
        assert held
        assert not free(path)
    assert free(path)


def test_a_shared_lock_keeps_out_only_those_that_want_it_alone(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with lock(path, shared=True), lock(path, shared=True):
        assert free(path, shared=True)
        assert not free(path)
    with try_lock(path, shared=True):
        assert free(path, shared=True)


def test_who_waits_says_so_once_and_gets_it(tmp_path: Path) -> None:
    path, told = tmp_path / "lock", threading.Event()
    got: list[int] = []

    def wait() -> None:
        with lock(path, on_wait=told.set):
            got.append(1)

    with lock(path):
        waiter = threading.Thread(target=wait)
        waiter.start()
        assert told.wait(20)
        assert got == []
    waiter.join(20)
    assert got == [1]


def test_nobody_is_told_of_waiting_where_there_is_none(tmp_path: Path) -> None:
    told: list[str] = []
    with lock(tmp_path / "lock", on_wait=lambda: told.append("waits")):
        assert not free(tmp_path / "lock")
    assert free(tmp_path / "lock")
    with lock(tmp_path / "lock", shared=True, on_wait=lambda: told.append("waits")):
        assert free(tmp_path / "lock", shared=True)
    assert told == []


def test_a_lock_may_be_waited_for_a_while(tmp_path: Path) -> None:
    path, answers = tmp_path / "lock", []

    def wait(limit_s: float) -> None:
        with try_lock(path, limit_s=limit_s) as held:
            answers.append(held)

    with lock(path):
        wait(0.2)
        assert answers == [False]
        waiter = threading.Thread(target=wait, args=[60.0])
        waiter.start()
    waiter.join(50)
    assert answers == [False, True]


def test_the_lock_of_a_name_that_was_removed_does_not_count(tmp_path: Path) -> None:
    """Whoever waited for it holds a file that nobody else can find."""
    path, told, got = tmp_path / "lock", threading.Event(), threading.Event()
    let_go = threading.Event()

    def wait() -> None:
        with lock(path, on_wait=told.set):
            got.set()
            let_go.wait(20)

    with lock(path):
        waiter = threading.Thread(target=wait)
        waiter.start()
        assert told.wait(20)
        path.unlink()
    try:
        assert got.wait(20)
        assert path.exists(), "it was made anew"
        assert not free(path)
    finally:
        let_go.set()
        waiter.join(20)


@pytest.mark.parametrize("replaced", [True, False])
def test_the_lock_of_a_file_without_its_name_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replaced: bool
) -> None:
    path, flock, opened = tmp_path / "lock", fcntl.flock, []

    def replace_first(descriptor: int, how: int) -> None:
        opened.append(descriptor)
        if len(opened) == 1:
            path.unlink()
            if replaced:
                path.touch()
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", replace_first)
    before = descriptors()
    with try_lock(path) as held:
        assert held
        assert len(opened) == 2
        assert len(descriptors()) == len(before) + 1, "that of the file of before is closed"
        monkeypatch.undo()
        assert not free(path)
    assert descriptors() == before


def test_a_failing_lock_leaves_no_descriptor(tmp_path: Path) -> None:
    with lock(tmp_path / "lock"):
        before = descriptors()
        assert not free(tmp_path / "lock")
        assert descriptors() == before


def descriptors() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208 -- lists its own in both


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"), lock(tmp_path / "lock"):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_a_lock_is_for_its_owner_alone(tmp_path: Path) -> None:
    with lock(tmp_path / "lock"):
        assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600


def test_a_lock_is_not_inherited(tmp_path: Path) -> None:
    with lock(tmp_path / "lock"):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        assert free(tmp_path / "lock")
    finally:
        child.kill()
        child.wait()


# Folders


def test_a_folder_is_locked_itself(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    with try_lock_folder(folder) as held:
        assert not held, "it is not there"
    assert not is_locked(folder)
    folder.mkdir()
    assert not is_locked(folder)
    statement = f"held.enter_context(locks.try_lock_folder(Path({str(folder)!r})))"
    with held_elsewhere(statement):
        assert is_locked(folder)
        with try_lock_folder(folder) as held:
            assert not held
    with try_lock_folder(folder) as held:
        assert held
        assert is_locked(folder)
    assert not is_locked(folder)
    assert list(tmp_path.iterdir()) == [folder], "there is no file of a lock"


def test_a_file_is_no_locked_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with lock(tmp_path / "file"):
        assert not is_locked(tmp_path / "file")


def test_a_folder_that_is_shared_keeps_out_who_wants_it_alone(tmp_path: Path) -> None:
    """The programs that a process starts hold it on."""
    assert hold_folder(tmp_path / "never-there") is None
    with try_lock_folder(tmp_path):
        assert hold_folder(tmp_path) is None
    first, second = hold_folder(tmp_path), hold_folder(tmp_path)
    assert first is not None
    assert second is not None
    os.close(first)
    assert is_locked(tmp_path)
    child = subprocess.Popen(["sleep", "60"], close_fds=False)
    os.close(second)
    try:
        assert is_locked(tmp_path), "the child has it"
    finally:
        child.kill()
        child.wait()
    assert not is_locked(tmp_path)


# Making something alone


def test_who_makes_something_keeps_others_out_and_leaves_no_lock(tmp_path: Path) -> None:
    target = tmp_path / "some" / "new" / "made"
    with exclusive(target):
        (name,) = (path.name for path in target.parent.iterdir())
        assert name == ".made.lock"
        assert not free(target.with_name(name))
    assert list(target.parent.iterdir()) == []
    with pytest.raises(KeyError), exclusive(target):
        raise KeyError
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("enter", [exclusive, try_exclusive])
def test_a_lock_that_somebody_removed_is_no_error_at_the_end(
    tmp_path: Path, enter: Callable[[Path], AbstractContextManager[object]]
) -> None:
    with enter(tmp_path / "made"):
        (tmp_path / ".made.lock").unlink()


def test_who_waits_to_make_something_is_told(tmp_path: Path) -> None:
    target, told, done = tmp_path / "made", threading.Event(), threading.Event()

    def wait() -> None:
        with exclusive(target, on_wait=told.set):
            done.set()

    with exclusive(target):
        waiter = threading.Thread(target=wait)
        waiter.start()
        assert told.wait(20)
        assert not done.is_set()
    waiter.join(20)
    assert done.is_set()


def test_who_does_not_wait_to_make_something_is_told_that_somebody_else_does(
    tmp_path: Path,
) -> None:
    target, name = tmp_path / "made", tmp_path / ".made.lock"
    assert not is_exclusive(target)
    assert not name.exists(), "looking leaves nothing"
    with try_exclusive(target) as first:
        assert first
        assert is_exclusive(target)
        with try_exclusive(target) as second:
            assert not second
        assert name.exists(), "the lock is not taken away from the first"
        assert is_exclusive(target)
    assert not name.exists()
    name.touch()
    assert not is_exclusive(target), "a process that was killed left the file"
    with pytest.raises(KeyError), try_exclusive(target):
        raise KeyError
    assert not name.exists()


def test_two_processes_never_make_it_at_once(tmp_path: Path) -> None:
    statement = f"held.enter_context(locks.exclusive(Path({str(tmp_path / 'made')!r})))"
    with held_elsewhere(statement):
        assert not free(tmp_path / ".made.lock")
    assert eventually(lambda: not (tmp_path / ".made.lock").exists())
    assert locks.POLL_S < 1
