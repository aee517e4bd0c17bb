"""`stagefarm diff` and `stagefarm cache`, as they are called."""

from __future__ import annotations

import io
import json
import os
import random
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.cli import run
from tasks import settings
from tasks.archive.tarball import pack
from tasks.artifacts.packages import ANISE
from tasks.host.locks import exclusive
from tasks.model import Source, SourceType
from tasks.reporting import Silent
from tasks.rootfs.seed_cache import Seeds
from tasks.rootfs.storage import Storage
from tasks.sources.destination import Destination
from tasks.sources.dispatch import fill
from tasks.sources.download_cache import Downloads
from tests import boltdb, trees
from tests.webserver import serving


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    trees.plain(tmp_path / "tree")
    status = tmp_path / "tree/var/lib/dpkg/status"
    status.parent.mkdir(parents=True)
    status.write_text("Package: bash\nVersion: 1\n\nPackage: old\nVersion: 1\n")
    for name in ("sys-libs/zlib-1.0", "sys-libs/gone-1"):
        (tmp_path / "tree/var/db/pkg" / name).mkdir(parents=True)
    return tmp_path / "tree"


def change(tree: Path) -> None:
    """Change one of each kind."""
    (tree / "var/lib/dpkg/status").write_text(
        "Package: bash\nVersion: 2\n\nPackage: new\nVersion: 1\n"
    )
    (tree / "file").write_text("CONTENT\n")
    (tree / "fifo").chmod(0o600)
    os.utime(tree / "empty", (1, 1))
    (tree / "link").unlink()
    (tree / "evil\n\x1b[31m").write_text("added")
    (tree / "var/db/pkg/sys-libs/gone-1").rmdir()


@pytest.mark.parametrize("endings", [("tar.zst", "tar.xz"), ("tar", "tar.gz"), ("tar.bz2", "tar")])
def test_the_same_tree_does_not_differ(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], endings: tuple[str, str]
) -> None:
    (tree / "a program").write_bytes(random.Random(1).randbytes(2 << 20))
    made = [pack(tree, tmp_path / f"a.{ending}", report=Silent()).path for ending in endings]
    assert run(["diff", *made]) == 0
    assert "files: 0 added, 0 removed, 0 changed" in capsys.readouterr().out


def test_what_differs_is_told(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = pack(tree, tmp_path / "a.tar.zst", report=Silent()).path
    change(tree)
    after = pack(tree, tmp_path / "b.tar.zst", report=Silent()).path
    assert run(["diff", before, after, "--json", "--ignore-times"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["files_added"] == ["/evil\n\x1b[31m"]
    assert found["files_removed"] == ["/link", "/var/db/pkg/sys-libs/gone-1"]
    assert {item["path"]: item["what"] for item in found["files_changed"]} == {
        "/fifo": ["mode"],
        "/file": ["content"],
        "/var/lib/dpkg/status": ["content"],
    }
    assert [package["name"] for package in found["packages_added"]] == ["new"]
    assert [package["name"] for package in found["packages_removed"]] == ["old", "sys-libs/gone"]
    assert [(p["name"], p["before"], p["after"]) for p in found["packages_changed"]] == [
        ("bash", ["1"], ["2"])
    ]
    assert run(["diff", before, after]) == 1
    said = capsys.readouterr().out
    assert "package ~ bash 1 → 2" in said
    assert "~ /file  (time, content)" in said
    assert "+ /evil\\n\\x1b[31m\n" in said


def test_no_tarball_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a").write_text("no")
    assert run(["diff", str(tmp_path / "a"), str(tmp_path / "none")]) == 2
    assert "a: not a tarball" in capsys.readouterr().err


def tarball(path: Path, *entries: tuple[str, bytes | str], prefix: str = "") -> Path:
    """A tarball of files with the given content, and of hard links where that is a name."""
    with tarfile.open(path, "w") as tar:
        for name, content in entries:
            entry = tarfile.TarInfo(prefix + name)
            if isinstance(content, str):
                entry.type, entry.linkname = tarfile.LNKTYPE, prefix + content
                tar.addfile(entry)
            else:
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return path


def changes(before: Path, after: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, list[str]]:
    run(["diff", str(before), str(after), "--json"])
    found = json.loads(capsys.readouterr().out)
    return {item["path"]: item["what"] for item in found["files_changed"]}


def test_which_hard_link_comes_first_makes_no_difference(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tarball(tmp_path / "a.tar", ("x", b"1"), ("y", "x"), ("z", "y"))
    after = tarball(tmp_path / "b.tar", ("z", b"1"), ("y", "z"), ("x", "z"), prefix="./")
    copies = tarball(tmp_path / "c.tar", ("x", b"1"), ("y", b"1"), ("z", "x"))
    assert changes(before, after, capsys) == {}
    assert changes(before, copies, capsys) == {"/y": ["kind", "size", "content"]}


def test_hard_links_that_lead_nowhere_are_compared_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tarball(tmp_path / "a.tar", ("x", "y"), ("y", "x"), ("z", "gone"))
    after = tarball(tmp_path / "b.tar", ("x", "y"), ("y", "x"), ("z", "other"))
    assert changes(before, after, capsys) == {"/z": ["content"]}


def test_names_that_are_no_text_are_told_exactly(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = os.fsdecode(b"not-utf8-\xff")
    before = tarball(tmp_path / "a.tar", (name, b"1"))
    after = tarball(tmp_path / "b.tar", (name, b"2"))
    assert changes(before, after, capsys) == {f"/{name}": ["content"]}


@pytest.mark.parametrize("damage", ["header", "cut", "in a header", "junk"])
def test_a_damaged_tarball_is_not_taken_for_a_shorter_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    whole = tarball(tmp_path / "a.tar", *((f"file{number}", b"1") for number in range(10)))
    data = bytearray(whole.read_bytes())
    if damage == "header":
        data[4 * 1024 + 5] ^= 0x55
    data += b"junk" if damage == "junk" else b""
    end = {"cut": 4 * 1024, "in a header": 4 * 1024 + 100}.get(damage)
    (tmp_path / "b.tar").write_bytes(data[:end])
    assert run(["diff", str(whole), str(tmp_path / "b.tar")]) == 2
    assert "b.tar: it " in capsys.readouterr().err


@pytest.fixture
def seeds(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Seeds:
    monkeypatch.setenv("STAGEFARM_STATE_DIR", str(tmp_path / "state"))
    settings.current.cache_clear()
    seeds = Seeds(tmp_path / "state" / "seeds")
    made = pack(tree, tmp_path / "a.tar", report=Silent())
    with seeds.lease(Path(made.path), made.sha256, link=tmp_path / "link", report=Silent()):
        pass
    yield seeds
    settings.current.cache_clear()


def test_cache_lists_verifies_and_prunes(
    seeds: Seeds, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (seed,) = seeds.all()
    assert run(["cache", "list", "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert (listed["digest"], listed["in_use"]) == (seed.digest, True)
    assert run(["cache", "verify"]) == 0
    assert run(["cache", "prune", "--all"]) == 0
    assert "intact\nnothing to remove" in capsys.readouterr().out
    (tmp_path / "link").unlink()
    assert run(["cache", "list"]) == 0
    assert run(["cache", "prune", "--all"]) == 0
    assert f"removed {seed.digest[:12]}  a.tar" in capsys.readouterr().out
    assert seeds.all() == []


@pytest.fixture
def download(seeds: Seeds, tmp_path: Path) -> Path:
    """The folder of a tarball that a plain build has fetched."""
    with serving() as site:
        uri = site.put("b.tar", (tmp_path / "a.tar").read_bytes())
        storage = Storage.of(settings.current())
        place = Destination(folder=tmp_path, storage=storage, report=Silent())
        fill(Source(type=SourceType.HTTP, uri=uri), tmp_path / "rootfs", place)
    (tarball,) = (tmp_path / "state/downloads").glob("*/b.tar")
    return tarball.parent


def test_downloads_of_plain_builds_are_listed_and_pruned_too(
    seeds: Seeds, download: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    size_bytes = (download / "b.tar").stat().st_blocks * 512
    with exclusive(download):
        assert run(["cache", "list", "--json"]) == 0
        listed, seed = json.loads(capsys.readouterr().out)
        assert (listed["kind"], listed["name"]) == ("download", "b.tar")
        assert (listed["key"], listed["in_use"]) == (download.name, True)
        assert listed["size_bytes"] >= size_bytes
        assert (seed["kind"], seed["digest"]) == ("seed", seeds.all()[0].digest)
        assert run(["cache", "prune", "--all", "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == []
    assert run(["cache", "list"]) == 0
    assert "b.tar (download)" in capsys.readouterr().out
    (download.parent / ".killed.lock").touch()
    assert run(["cache", "prune", "--all", "--json"]) == 0
    (removed,) = json.loads(capsys.readouterr().out)
    assert removed["key"] == download.name
    assert list(download.parent.iterdir()) == []


def test_seeds_and_downloads_share_one_limit(
    seeds: Seeds, download: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was used least recently goes first, whichever it is, also when a build ends."""
    (tmp_path / "link").unlink()
    (seed,) = seeds.all()
    os.utime(seeds.root / f"{seed.digest}.json", (1, 1))
    limit = seed.size_bytes + Downloads(download.parent).all()[0].size_bytes - 1
    storage = replace(Storage.of(settings.current()), seeds_limit_bytes=limit)
    place = Destination(folder=tmp_path, storage=storage, report=Silent())
    fill(Source(type=SourceType.FILE, path=str(tmp_path / "a.tar")), tmp_path / "other", place)
    assert seeds.all() == []
    assert [kept.key for kept in Downloads(download.parent).all()] == [download.name]


def test_cache_verify_removes_what_was_changed(
    seeds: Seeds, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (seed,) = seeds.all()
    (seeds.root / seed.digest / "file").write_text("changed")
    assert run(["cache", "verify"]) == 1
    (tmp_path / "link").unlink()
    assert run(["cache", "verify"]) == 1
    assert capsys.readouterr().out.count("changed, ") == 2
    assert seeds.all() == []


def test_seeds_of_root_are_not_shown_as_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with tempfile.TemporaryDirectory() as state:  # pytest's own folders are for their user alone
        Path(state).chmod(0o755)
        Path(state, "seeds").mkdir(mode=0)
        monkeypatch.setenv("STAGEFARM_STATE_DIR", state)
        settings.current.cache_clear()
        with nobody():
            assert run(["cache", "list"]) == 3
    settings.current.cache_clear()
    assert "only root may read the seeds" in capsys.readouterr().err


@contextmanager
def nobody() -> Iterator[None]:
    """Root may look at all; so be somebody else, where this is root."""
    user = os.geteuid()
    os.seteuid(user or 65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_packages_of_anise_are_compared_by_category_and_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = {"name": "base", "category": "system", "repository": "main"}
    extra = {"name": "base", "category": "virtual", "version": "1", "repository": "main"}
    boltdb.write(tmp_path / "a" / ANISE[1], [base | {"version": "1.0"}])
    boltdb.write(tmp_path / "b" / ANISE[1], [base | {"version": "2.0"}, extra])
    for name in ("a", "b"):
        pack(tmp_path / name, tmp_path / f"{name}.tar", report=Silent())
    assert run(["diff", str(tmp_path / "a.tar"), str(tmp_path / "b.tar")]) == 1
    said = capsys.readouterr().out
    assert "package + virtual/base 1\n" in said
    assert "package ~ system/base 1.0 → 2.0\n" in said
