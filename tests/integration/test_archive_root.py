"""Unpacking and packing what needs root: every kind of file, mounts inside, a full disk."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.archive.tarball import extract, pack
from tasks.errors import PackFailed, SourceFailed
from tasks.reporting import Silent
from tests import trees

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]


def mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True)


@pytest.fixture
def mounted() -> Iterator[list[Path]]:
    """Mount points that are unmounted at the end, the last first."""
    points: list[Path] = []
    yield points
    for point in reversed(points):
        subprocess.run(["umount", str(point)], check=True)


@pytest.mark.parametrize("ending", ["tar", "tar.zst", "tar.xz", "tar.gz", "tar.bz2"])
def test_one_of_everything_comes_back(tmp_path: Path, ending: str) -> None:
    trees.one_of_everything(tmp_path / "tree")
    pack(tmp_path / "tree", tmp_path / f"a.{ending}", report=Silent())
    extract(tmp_path / f"a.{ending}", tmp_path / "back", report=Silent())
    assert trees.listing(tmp_path / "back") == trees.listing(tmp_path / "tree")


def test_one_of_everything_comes_back_through_an_overlay(
    tmp_path: Path, mounted: list[Path]
) -> None:
    trees.one_of_everything(tmp_path / "tree")
    for name in ("upper", "work", "merged"):
        (tmp_path / name).mkdir()
    options = f"lowerdir={tmp_path}/tree,upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    mount("-t", "overlay", "-o", options, "overlay", tmp_path / "merged")
    mounted.append(tmp_path / "merged")
    os.utime(tmp_path / "merged" / "file", ns=(1, 2))
    pack(tmp_path / "merged", tmp_path / "a.tar.zst", report=Silent())
    extract(tmp_path / "a.tar.zst", tmp_path / "back", report=Silent())
    assert trees.listing(tmp_path / "back") == trees.listing(tmp_path / "merged")


def test_what_is_mounted_inside_is_not_packed(tmp_path: Path, mounted: list[Path]) -> None:
    tree = tmp_path / "tree"
    trees.plain(tree)
    before = trees.listing(tree)
    other = tmp_path / "other"
    trees.plain(other)
    for source, point in ((other, tree / "folder"), (other / "sparse", tree / "file")):
        mount("--bind", source, point)
        mounted.append(point)
    mount("-t", "tmpfs", "none", tree / "empty")
    mounted.append(tree / "empty")
    (tree / "empty" / "secret").write_text("not ours")
    pack(tree, tmp_path / "a.tar", report=Silent())
    extract(tmp_path / "a.tar", tmp_path / "back", report=Silent())
    assert trees.listing(tmp_path / "back") == before


def test_a_full_disk_is_one_clear_error(tmp_path: Path, mounted: list[Path]) -> None:
    trees.plain(tmp_path / "tree")
    (tmp_path / "tree" / "noise").write_bytes(os.urandom(4 << 20))
    (tmp_path / "small").mkdir()
    mount("-t", "tmpfs", "-o", "size=1m", "none", tmp_path / "small")
    mounted.append(tmp_path / "small")
    with pytest.raises(PackFailed, match=r"(?i)no space left") as caught:
        pack(tmp_path / "tree", tmp_path / "small" / "a.tar.zst", report=Silent())
    assert "free some space" in caught.value.hint
    assert list((tmp_path / "small").iterdir()) == []
    pack(tmp_path / "tree", tmp_path / "a.tar.zst", report=Silent())
    with pytest.raises(SourceFailed, match=r"(?i)no space left") as failed:
        extract(tmp_path / "a.tar.zst", tmp_path / "small" / "back", report=Silent())
    assert "free some space" in failed.value.hint


EXTRACT = """
import sys
from pathlib import Path
from tasks.archive.tarball import extract
from tasks.reporting import Silent
class Said(Silent):
    def line(self, line):
        print(line.text)
extract(Path(sys.argv[1]), Path(sys.argv[2]), report=Said())
"""


def test_in_a_user_namespace_what_nobody_may_make_there_is_noted(tmp_path: Path) -> None:
    trees.one_of_everything(tmp_path / "tree")
    pack(tmp_path / "tree", tmp_path / "a.tar", report=Silent())
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", sys.executable, "-c", EXTRACT,
         tmp_path / "a.tar", tmp_path / "back"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "unshare:" in done.stderr:
        pytest.skip("needs user namespaces")
    assert done.returncode == 0, done.stderr
    assert "tar: ./disk: Cannot mknod: Operation not permitted" in done.stdout
    assert (tmp_path / "back" / "file").read_text() == "content\n"
