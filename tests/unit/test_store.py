"""The store of artifacts and checkpoints, apart from the farm."""

from __future__ import annotations

import hashlib
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.errors import BadInput, HostUnfit, PackFailed, Stale
from tasks.host.removal import remove_tree
from tasks.model import Build
from tasks.results import Artifact
from tasks.store.folder import FileStore, file_of
from tests.builds import any_build

DAY_S = 24 * 3600.0


@pytest.fixture
def build() -> Build:
    return any_build()


def test_old_checkpoints_go_and_young_ones_stay(tmp_path: Path, build: Build) -> None:
    store = FileStore(tmp_path)
    old = replace(build, id="old-0001", batch="night")
    for number, one in enumerate((build, old, old)):
        with store.new_checkpoint(one, 1, number, "host") as folder:
            (folder / "rootfs.tar.zst").write_bytes(b"root")
    os.utime(store.checkpoint(old, 1, 1), (0, 0))
    store.sweep_checkpoints(DAY_S)
    assert store.checkpoint(build, 1, 0).is_dir()
    assert not store.checkpoint(old, 1, 1).exists()
    assert store.checkpoint(old, 1, 2).is_dir()
    os.utime(store.checkpoint(old, 1, 2), (0, 0))
    store.sweep_checkpoints(DAY_S)
    assert [path.name for path in (tmp_path / "night" / "old-0001").iterdir()] == []


def test_an_attempt_publishes_anew_what_it_had_published(tmp_path: Path, build: Build) -> None:
    """Its process died before it could tell the ledger."""
    store = FileStore(tmp_path)
    for content in (b"first", b"second"):
        store.put(build, 1, "host", (), {"build.log": content})
    assert (store.folder(build, 1) / "build.log").read_bytes() == b"second"
    assert [path.name for path in store.folder(build, 1).parent.iterdir()] == ["1"]


# Publishing


def artifact_of(path: Path, content: bytes) -> Artifact:
    sha256 = hashlib.sha256(content).hexdigest()
    return Artifact(name="a.tar", path=str(path), size_bytes=len(content), sha256=sha256)


@pytest.fixture
def made(tmp_path: Path) -> Artifact:
    (tmp_path / "made.tar").write_bytes(b"stage" * 1000)
    return artifact_of(tmp_path / "made.tar", b"stage" * 1000)


def test_a_reader_sees_a_published_folder_whole_or_not_at_all(tmp_path: Path, build: Build) -> None:
    """The artifact comes through a pipe, so that publishing waits in the middle of it."""
    content = os.urandom(1 << 20)
    os.mkfifo(tmp_path / "pipe")
    store, folder = FileStore(tmp_path / "store"), tmp_path / "store" / "job-1" / "job-1"
    whole = artifact_of(tmp_path / "pipe", content)
    publisher = threading.Thread(
        target=store.put, args=(build, 1, "host", [whole], {"build.log": b"a line\n"})
    )
    publisher.start()
    with (tmp_path / "pipe").open("wb") as pipe:
        pipe.write(content[: 1 << 19])
        pipe.flush()
        (partial,) = folder.iterdir()
        inode = partial.stat().st_ino
        assert partial.name == "1.host.partial"
        pipe.write(content[1 << 19 :])
    publisher.join(20)
    (published,) = folder.iterdir()
    assert published == store.folder(build, 1)
    assert published.stat().st_ino == inode, "what was filled got its name; it is no copy"
    assert {path.name: path.stat().st_size for path in published.iterdir()} == {
        "a.tar": 1 << 20,
        "build.log": 7,
    }


def test_publishing_leaves_no_descriptor(tmp_path: Path, build: Build, made: Artifact) -> None:
    before = os.listdir("/proc/self/fd")  # noqa: PTH208 -- lists its own in both
    FileStore(tmp_path / "store").put(build, 1, "host", [made], {"build.log": b""})
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208


def test_what_is_published_is_what_was_packed_with_its_url(
    tmp_path: Path, build: Build, made: Artifact
) -> None:
    store = FileStore(tmp_path / "a store")
    (tmp_path / "log").write_text("a line\n")
    extras = {"build.log": tmp_path / "log", "none": tmp_path / "none", "record.json": b"{}"}
    (stored,) = store.put(build, 3, "host", [made], extras)
    assert file_of(stored.path) == store.folder(build, 3) / "a.tar"
    assert file_of(stored.path).read_bytes() == b"stage" * 1000
    assert stored == replace(made, path=stored.path)
    listed = {path.name: path.read_bytes() for path in store.folder(build, 3).iterdir()}
    assert listed == {"a.tar": b"stage" * 1000, "build.log": b"a line\n", "record.json": b"{}"}


@pytest.mark.parametrize("batch", ["", "night"])
def test_attempts_lie_below_their_batch_or_build(tmp_path: Path, build: Build, batch: str) -> None:
    folder = FileStore(tmp_path).folder(replace(build, batch=batch), 2)
    assert folder == tmp_path / (batch or "job-1") / "job-1" / "2"


def test_a_file_that_changed_since_it_was_packed_is_not_published(
    tmp_path: Path, build: Build, made: Artifact
) -> None:
    Path(made.path).write_bytes(b"other" * 1000)
    store = FileStore(tmp_path / "store")
    with pytest.raises(PackFailed, match="a.tar is not what was packed"):
        store.put(build, 1, "host", [made], {})
    assert list(store.folder(build, 1).parent.iterdir()) == [], "nothing is left of it"


def test_a_store_that_takes_nothing_is_one_clear_error(
    tmp_path: Path, build: Build, made: Artifact
) -> None:
    (tmp_path / "store").write_text("a file")
    with pytest.raises(HostUnfit, match="cannot store to .*: Not a directory"):
        FileStore(tmp_path / "store").put(build, 1, "host", [made], {})


def test_what_a_killed_worker_left_half_stored_is_no_hindrance(
    tmp_path: Path, build: Build, made: Artifact
) -> None:
    store = FileStore(tmp_path / "store")
    partial = store.folder(build, 1).with_name("1.host.partial")
    partial.mkdir(parents=True)
    (partial / "junk").touch()
    store.put(build, 1, "host", [made], {})
    assert [path.name for path in store.folder(build, 1).parent.iterdir()] == ["1"]
    assert [path.name for path in store.folder(build, 1).iterdir()] == ["a.tar"]


def test_a_withdrawn_attempt_takes_nothing_else_along(tmp_path: Path, build: Build) -> None:
    store = FileStore(tmp_path)
    for attempt in (1, 2):
        store.put(build, attempt, "host", (), {"build.log": b""})
    store.withdraw(build, 1)
    assert [path.name for path in store.folder(build, 1).parent.iterdir()] == ["2"]


def test_what_the_ledger_accepted_is_never_touched_again(tmp_path: Path, build: Build) -> None:
    store = FileStore(tmp_path)
    store.put(build, 2, "host", (), {"build.log": b"first"}, counted={1})
    with pytest.raises(Stale, match="attempt 2 has ended"):
        store.put(build, 2, "host", (), {"build.log": b"second"}, counted={1, 2})
    store.withdraw(build, 2, counted={1, 2})
    assert (store.folder(build, 2) / "build.log").read_bytes() == b"first"
    store.withdraw(build, 2, counted={1})
    assert not store.folder(build, 2).exists()


def test_a_sweep_takes_what_did_not_count_before_the_attempt(tmp_path: Path, build: Build) -> None:
    store = FileStore(tmp_path)
    parent = store.folder(build, 1).parent
    for name in ("1", "2", "2.host.partial", "3", "4", "4.host.partial", "5", "5.x.partial"):
        (parent / name).mkdir(parents=True)
    (parent / "checkpoints").mkdir()
    store.sweep(build, 4, counted={2, 9})
    left = sorted(path.name for path in parent.iterdir())
    assert left == ["2", "4", "4.host.partial", "5", "5.x.partial", "checkpoints"]


@pytest.mark.parametrize(
    ("url", "root"), [("file:///srv/my%20stages", "/srv/my stages"), ("file:///srv", "/srv")]
)
def test_a_store_is_a_folder(url: str, root: str) -> None:
    assert FileStore.at(url).root == Path(root)


@pytest.mark.parametrize("url", ["https://example.org/srv", "/srv", "file://srv", "file:srv", ""])
def test_what_is_no_store(url: str) -> None:
    with pytest.raises(BadInput, match="store_url: cannot store"):
        FileStore.at(url)


# Checkpoints


def checkpoints(store: FileStore, build: Build) -> list[str]:
    return sorted(path.name for path in store.checkpoint(build, 1, 0).parent.iterdir())


def fill(store: FileStore, build: Build, attempt: int, step: int) -> None:
    with store.new_checkpoint(build, attempt, step, "host") as folder:
        (folder / "rootfs.tar.zst").write_bytes(b"root")


def test_a_checkpoint_is_there_once_it_is_whole(tmp_path: Path, build: Build) -> None:
    store = FileStore(tmp_path)
    with store.new_checkpoint(build, 1, 2, "host") as folder:
        (folder / "rootfs.tar.zst").write_bytes(b"root")
        assert not store.checkpoint(build, 1, 2).exists()
    assert (store.checkpoint(build, 1, 2) / "rootfs.tar.zst").read_bytes() == b"root"
    assert store.checkpoint(build, 1, 2) == tmp_path / "job-1" / "job-1" / "checkpoints" / "1.2"
    with pytest.raises(KeyError), store.new_checkpoint(build, 1, 3, "host"):
        raise KeyError
    assert checkpoints(store, build) == ["1.2"]


def test_a_new_checkpoint_sweeps_only_half_done_ones_of_earlier_attempts(
    tmp_path: Path, build: Build
) -> None:
    store = FileStore(tmp_path)
    fill(store, build, 1, 0)
    for name in ("1.1.host.partial", "2.0.other.partial", "3.0.host.partial"):
        store.checkpoint(build, 1, 0).with_name(name).mkdir()
    fill(store, build, 2, 1)
    assert checkpoints(store, build) == ["1.0", "2.0.other.partial", "2.1", "3.0.host.partial"]


def test_checkpoints_are_dropped_one_by_one_or_all(tmp_path: Path, build: Build) -> None:
    store = FileStore(tmp_path)
    for step in range(3):
        fill(store, build, 1, step)
    store.drop_checkpoint(build, 1, 1)
    assert checkpoints(store, build) == ["1.0", "1.2"]
    store.put(build, 1, "host", (), {"build.log": b""})
    store.drop_checkpoints(build)
    assert [path.name for path in store.folder(build, 1).parent.iterdir()] == ["1"]


def test_a_checkpoint_that_another_host_sweeps_is_no_error(
    tmp_path: Path,
    build: Build,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = FileStore(tmp_path)
    for step in range(2):
        fill(store, build, 1, step)
        os.utime(store.checkpoint(build, 1, step), (0, 0))

    def both_sweep(path: Path) -> None:
        remove_tree(path)
        raise HostUnfit("somebody else is at it")

    monkeypatch.setattr("tasks.store.folder.remove_tree", both_sweep)
    store.sweep_checkpoints(DAY_S)
    left = [step for step in range(2) if store.checkpoint(build, 1, step).exists()]
    assert left == [], "and the next one is looked at"
    assert caplog.messages == ["left in the store: somebody else is at it"] * 2


def test_an_artifact_that_was_moved_is_the_jobs_mistake(
    tmp_path: Path, build: Build, made: Artifact
) -> None:
    Path(made.path).unlink()
    with pytest.raises(PackFailed, match="a.tar is not where it was packed to"):
        FileStore(tmp_path / "store").put(build, 1, "host", [made], {})
