"""Removal keeps to what it was told to remove, whatever a hook left there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.errors import HostUnfit
from tasks.host.removal import remove_tree
from tests import trees

root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A folder that must be the same afterwards."""
    trees.plain(tmp_path / "outside")
    before = trees.listing(tmp_path / "outside")
    yield tmp_path / "outside"
    assert trees.listing(tmp_path / "outside") == before


def test_links_are_removed_and_not_followed(tmp_path: Path, outside: Path) -> None:
    tree = tmp_path / "tree"
    trees.plain(tree)
    for number, target in enumerate(["/", str(outside), "../outside", ".", ".."]):
        (tree / "folder" / f"link{number}").symlink_to(target)
    os.link(outside / "file", tree / "hard")
    remove_tree(tree)
    assert not tree.exists()


def test_a_link_itself_is_removed(tmp_path: Path, outside: Path) -> None:
    (tmp_path / "link").symlink_to(outside)
    remove_tree(tmp_path / "link")
    remove_tree(tmp_path / "never-there")
    assert not (tmp_path / "link").is_symlink()


def test_a_tree_of_any_depth_is_removed(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("x" * 200, dir_fd=here)
        deeper = os.open("x" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)
    remove_tree(tmp_path / ("x" * 200))
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_looks_like_an_option_is_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tree = Path("-tree")
    trees.plain(tree)
    remove_tree(tree)
    assert not tree.exists()


@root
def test_what_was_made_immutable_is_removed(
    tmp_path: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tree = Path("-tree")
    trees.one_of_everything(tree)
    (tree / "folder" / "link").symlink_to(outside / "file")
    for flag, name in (("+i", "folder/noted"), ("+a", "file"), ("+i", "folder/deep"), ("+i", ".")):
        tried = subprocess.run(
            ["chattr", flag, "--", str(tree / name)], capture_output=True, check=False
        )
        if tried.returncode:
            pytest.skip("this file system knows no immutable files")
    remove_tree(tree)
    assert not tree.exists()


@root
@pytest.mark.parametrize("at", ["tree", "tree/folder", "tree/file"])
def test_a_tree_with_a_mount_is_not_touched(tmp_path: Path, outside: Path, at: str) -> None:
    trees.plain(tmp_path / "tree")
    before = trees.listing(tmp_path / "tree")
    point = tmp_path / at
    source = outside if point.is_dir() else outside / "file"
    subprocess.run(["mount", "--bind", str(source), str(point)], check=True)
    try:
        with pytest.raises(HostUnfit, match=f"something is mounted at {point}"):
            remove_tree(tmp_path / "tree")
    finally:
        subprocess.run(["umount", str(point)], check=True)
    assert trees.listing(tmp_path / "tree") == before


LATE_MOUNT = """
import subprocess
import sys
from pathlib import Path

from tasks.errors import HostUnfit
from tasks.host import mount_table
from tasks.host.removal import remove_tree

tree, look = Path(sys.argv[1]), mount_table.mounted_at_or_below

def look_too_early(path):
    found = look(path)
    subprocess.run(["mount", "-t", "tmpfs", "none", str(tree / "folder")], check=True)
    (tree / "folder" / "file").write_text("of the other file system")
    return found

mount_table.mounted_at_or_below = look_too_early
try:
    remove_tree(tree)
except HostUnfit as error:
    print(error)
print((tree / "folder" / "file").read_text())
"""


@root
@pytest.mark.usefixtures("can_isolate")
def test_what_is_mounted_after_the_look_is_not_emptied(tmp_path: Path) -> None:
    trees.plain(tmp_path / "tree")
    command = ["unshare", "--mount", sys.executable, "-c", LATE_MOUNT, str(tmp_path / "tree")]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    error, content = said.splitlines()
    assert error.startswith(f"cannot remove {tmp_path / 'tree'}: rm: ")
    assert content == "of the other file system"
