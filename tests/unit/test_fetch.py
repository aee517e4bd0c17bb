"""Copying from the store to where people want it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from orchestrator.farm.fetch import Copy, bring, check_apart, copies
from tasks.errors import BadInput, HostUnfit
from tasks.ledger.records import Record
from tasks.model import Build, BuildState, Output
from tasks.results import Artifact
from tasks.store.folder import FolderFile, file_of
from tasks.trust.policy import NOT_REQUIRED
from tests.builds import any_build


def here(url: str) -> FolderFile:
    return FolderFile(file_of(url))


CONTENT = b"a tarball"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    store = tmp_path / "store of the farm"
    store.mkdir()
    for name in ("s[1].tar.zst", "s[1].tar.zst.sha256", "s1.tar.zst.sha256", "build.log"):
        (store / name).write_bytes(CONTENT)
    return store


def a_build(folder: Path) -> Build:
    return any_build(output=Output(name="s[1].tar.zst", dir=str(folder)))


def a_record(store: Path) -> Record:
    uri = (store / "s[1].tar.zst").as_uri()
    made = Artifact(name="s[1].tar.zst", path=uri, size_bytes=len(CONTENT), sha256=SHA256)
    return Record(
        id="job-1", job="job", queue="a.b", attempt=1, titles=(),
        state=BuildState.SUCCEEDED, artifacts=(made,),
    )  # fmt: skip


def test_a_tarball_and_what_is_beside_it_go_where_run_puts_them(
    stored: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    wanted = list(copies(a_record(stored), None, NOT_REQUIRED, lambda _: a_build(out), here))
    assert [(copy.target, copy.sha256) for copy in wanted] == [
        (out / "s[1].tar.zst", SHA256),
        (out / "s[1].tar.zst.sha256", ""),
    ]
    counts: list[int] = []
    for copy in wanted:
        bring(copy, counts.append)
    assert sum(counts) == 2 * len(CONTENT)
    assert sorted(path.name for path in out.iterdir()) == ["s[1].tar.zst", "s[1].tar.zst.sha256"]
    into = list(
        copies(a_record(stored), tmp_path / "mirror", NOT_REQUIRED, lambda _: a_build(out), here)
    )
    assert into[0].target == tmp_path / "mirror" / "s[1].tar.zst"


def test_what_is_not_what_was_built_is_not_left(stored: Path, tmp_path: Path) -> None:
    copy = Copy(FolderFile(stored / "s[1].tar.zst"), tmp_path / "s.tar.zst", "0" * 64)
    copy.target.write_bytes(b"of yesterday")
    with pytest.raises(HostUnfit, match="is not what was built: its sha256 differs"):
        bring(copy, lambda _: None)
    assert copy.target.read_bytes() == b"of yesterday"
    assert not list(tmp_path.glob(".*"))


def test_a_store_that_is_elsewhere_is_told(stored: Path, tmp_path: Path) -> None:
    (stored / "s[1].tar.zst").unlink()
    with pytest.raises(HostUnfit, match="is not on this machine"):
        list(copies(a_record(stored), None, NOT_REQUIRED, lambda _: a_build(tmp_path), here))


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    wanted = [Copy(FolderFile(tmp_path / source), tmp_path / "out.tar") for source in "ab"]
    check_apart([wanted[0], wanted[0]])
    with pytest.raises(BadInput, match="two files would be copied to"):
        check_apart(wanted)
