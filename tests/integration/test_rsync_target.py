"""A mirror on another machine: an rsync daemon on loopback, and rsync over a stand-in for ssh."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.release.targets.rsync import RsyncTarget
from orchestrator.release.targets.target import Item
from tasks.errors import HostUnfit, Stale, Untrusted
from tests.publishing import ByName
from tests.releases import DAY_S, Shop
from tests.unit.test_release import read
from tests.waiting import eventually

SSH = """#!/bin/bash
# Runs the command here, as ssh would there: rsync calls it as `ssh [options] host command`.
while [[ $1 == -* ]]; do shift; done
echo "$*" >> "$(dirname "$0")/calls"
shift
exec "$@"
"""


@contextmanager
def daemon(folder: Path, mirror: Path) -> Iterator[str]:
    """An rsync daemon that serves `mirror` for writing; yields its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mirror.mkdir(exist_ok=True)
    config = folder / "rsyncd.conf"
    user = "uid = root\ngid = root\n" if os.geteuid() == 0 else ""
    config.write_text(
        f"{user}use chroot = no\nport = {port}\naddress = 127.0.0.1\npid file = {folder}/pid\n"
        f"log file = {folder}/rsyncd.log\nmunge symlinks = no\n"
        f"[mirror]\npath = {mirror}\nread only = no\n"
    )
    argv = ["rsync", "--daemon", "--no-detach", f"--config={config}"]
    with subprocess.Popen(argv) as server:
        try:
            with socket.socket() as client:
                assert eventually(lambda: client.connect_ex(("127.0.0.1", port)) in (0, 106))
            yield f"rsync://127.0.0.1:{port}/mirror"
        finally:
            server.terminate()


@pytest.fixture(params=["ssh", "daemon"])
def shop(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shop]:
    """A shop whose mirror is reached by rsync."""
    ssh = tmp_path / "ssh"
    ssh.write_text(SSH)
    ssh.chmod(0o755)
    monkeypatch.setenv("RSYNC_RSH", str(ssh))
    shop = RsyncShop(tmp_path)
    if request.param == "ssh":
        shop.to = f"mirror.example:{shop.mirror}"
        yield shop
        return
    with daemon(tmp_path, shop.mirror) as url:
        shop.to = url
        yield shop


class RsyncShop(Shop):
    to: str = ""

    @property
    def target(self) -> RsyncTarget:  # type: ignore[override]
        return RsyncTarget(self.to, self.mirror.as_uri(), self.folder / "locks")


def test_generations_are_published_and_removed_by_rsync(shop: Shop) -> None:
    for number in (1, 2, 3):
        shop.put(f"a-{number}", at=shop.now + number)
        assert shop.publish(f"a-{number}", views=[ByName()]).failed == {}
    assert read(shop) == ["a-3", "a-2"]
    assert (shop.mirror / "by-name/a-3.tar.zst").is_symlink()
    assert (shop.mirror / "by-name/list.txt").read_text() == "a-3\na-2\n"
    old = shop.take("a-1").stages[0]
    assert (shop.mirror / old.tarball.path).exists()
    shop.now += 4 * DAY_S
    shop.put("a-4", at=shop.now)
    outcome = shop.publish("a-4", views=[ByName()])
    assert outcome.failed == {}
    assert {file.path for file in old.files} | {"by-name/a-1.txt"} <= set(outcome.removed)
    assert not (shop.mirror / old.tarball.path).parent.exists()
    assert read(shop) == ["a-4", "a-3"]
    assert not shop.publish("a-4").new


def test_bodies_are_sent_once_and_a_rollback_sends_none(shop: Shop) -> None:
    shop.put("a-1")
    shop.publish("a-1")
    body = shop.mirror / shop.take("a-1").stages[0].tarball.path
    before = body.stat()
    shop.put("a-2", at=shop.now + 60)
    shop.publish("a-2")
    shop.now += 3600
    assert shop.publisher().roll_back(1).catalog.version == 3
    assert read(shop) == ["a-1"]
    assert body.stat().st_ino == before.st_ino


def test_what_is_not_what_was_built_is_not_sent(shop: Shop) -> None:
    shop.put("a-1")
    tarball = next(shop.store.glob("a-1/a-1/1/*.tar.zst"))
    taken = shop.take("a-1")
    tarball.write_bytes(tarball.read_bytes()[::-1])
    with pytest.raises(Untrusted, match="is not what was built"):
        shop.publisher().publish(taken)
    assert not (shop.mirror / "stable.json").exists()


def test_the_pointer_moves_only_from_what_was_seen(shop: Shop) -> None:
    shop.put("a-1")
    shop.publish("a-1")
    with pytest.raises(Stale):
        shop.target.switch("stable.json", b"mine", None)
    with shop.target.exclusive(), pytest.raises(Stale, match="another publisher is at work"):
        shop.publish("a-1")


def test_names_with_blanks_and_patterns_are_taken_as_they_are(shop: Shop) -> None:
    names = ["a b/[x] *.txt", "a b/keep", "a b/ö?.txt"]
    shop.target.put([Item(path=name, content=name.encode()) for name in names], int)
    for name in names:
        assert (shop.mirror / name).read_text() == name
        assert shop.target.read(name, 100) == name.encode()
    sized = [Item(path=name, size_bytes=len(name.encode())) for name in names]
    assert shop.target.missing([*sized, Item(path="none", size_bytes=1)]) == [
        Item(path="none", size_bytes=1)
    ]
    with pytest.raises(HostUnfit, match="is larger than 2 bytes"):
        shop.target.read(names[0], 2)
    shop.target.remove([names[0], names[2], "a b/gone", "gone/too"])
    assert sorted(path.name for path in (shop.mirror / "a b").iterdir()) == ["keep"]
    shop.target.remove(["a b/keep"])
    assert not (shop.mirror / "a b").exists()


def test_a_machine_that_cannot_be_reached_is_told(tmp_path: Path) -> None:
    target = RsyncTarget("rsync://127.0.0.1:1/mirror", "http://x", tmp_path)
    with pytest.raises(HostUnfit, match=re.escape("rsync with rsync://127.0.0.1:1/mirror failed")):
        target.read("stable.json", 100)


def test_without_rsync_that_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostUnfit, match="cannot start rsync") as failed:
        RsyncTarget("host:x", "http://x", tmp_path).read("stable.json", 100)
    assert failed.value.hint == "is rsync installed?"
