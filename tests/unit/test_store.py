"""The store of artifacts and checkpoints, apart from the farm."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.artifacts.store import FileStore
from tasks.model import Build
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
