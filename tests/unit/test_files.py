"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from tasks.errors import HostUnfit
from tasks.host.files import make_folder, partial_of, private, replaced, sync_file_system, write_all


def test_a_file_keeps_its_old_content_until_the_new_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "some" / "new" / "file"
    with replaced(target) as file:
        assert not target.exists()
        file.write(b"first")
    with replaced(target) as file:
        file.write(b"second")
        assert target.read_bytes() == b"first"
    assert target.read_bytes() == b"second"
    assert list(target.parent.iterdir()) == [target]


def test_replacing_leaves_no_descriptor(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")  # noqa: PTH208 -- lists its own in both
    with replaced(tmp_path / "file"):
        pass
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208


def test_the_error_that_counts_is_the_first(tmp_path: Path) -> None:
    with pytest.raises(KeyError), replaced(tmp_path / "file"):
        {}[partial_of(tmp_path / "file").unlink()]
    assert list(tmp_path.iterdir()) == []


def test_a_replaced_file_is_another_file(tmp_path: Path) -> None:
    """Whoever has the old one open goes on reading it."""
    target = tmp_path / "file"
    target.write_bytes(b"first")
    with target.open("rb") as reader:
        with replaced(target) as file:
            file.write(b"second")
        assert reader.read() == b"first"


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"first")
    with pytest.raises(KeyError), replaced(target) as file:
        file.write({}[b"second"])
    assert target.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [target]


def test_what_a_killed_writer_left_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "file"
    partial_of(target).write_bytes(b"much longer than what is written now")
    with replaced(target) as file:
        file.write(b"short")
    assert target.read_bytes() == b"short"


def test_a_link_by_the_name_of_the_unfinished_file_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "file"
    (tmp_path / "outside").write_bytes(b"outside")
    partial_of(target).symlink_to(tmp_path / "outside")
    with replaced(target) as file:
        file.write(b"inside")
    assert (tmp_path / "outside").read_bytes() == b"outside"
    assert not target.is_symlink()


def test_all_is_written_to_a_pipe_that_takes_little_at_once() -> None:
    data = os.urandom(1 << 20)
    reading, writing = os.pipe()
    found: list[bytes] = []

    def read() -> None:
        with os.fdopen(reading, "rb") as file:
            found.append(file.read())

    reader = threading.Thread(target=read)
    reader.start()
    os.set_blocking(writing, True)
    write_all(writing, data)
    os.close(writing)
    reader.join(20)
    assert found == [data]


def test_a_folder_that_cannot_be_is_the_hosts_fault(tmp_path: Path) -> None:
    assert make_folder(tmp_path / "a" / "b").is_dir()
    assert make_folder(tmp_path / "a" / "b").is_dir(), "it is there"
    (tmp_path / "file").touch()
    with pytest.raises(HostUnfit, match="cannot create the folder .*/file/c: Not a directory"):
        make_folder(tmp_path / "file" / "c")


def test_a_file_system_that_cannot_be_synced_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = os.listdir("/proc/self/fd")  # noqa: PTH208 -- lists its own in both
    sync_file_system(tmp_path)
    with pytest.raises(NotADirectoryError):
        sync_file_system(Path("/dev/null"))

    class Broken:
        def syncfs(self, fd: int) -> int:
            return -1

    monkeypatch.setattr("tasks.host.files._libc", Broken())
    with pytest.raises(OSError, match="cannot sync its file system"):
        sync_file_system(tmp_path)
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_private_folder_is_its_owners_alone(tmp_path: Path) -> None:
    assert mode(private(tmp_path / "a" / "b")) == 0o700
    open_to_all = tmp_path / "c"
    open_to_all.mkdir(mode=0o755)
    assert mode(private(open_to_all)) == 0o700
    open_to_all.chmod(0o701)
    assert mode(private(open_to_all)) == 0o700
    open_to_all.chmod(0o500)
    assert mode(private(open_to_all)) == 0o500, "it is private enough"
