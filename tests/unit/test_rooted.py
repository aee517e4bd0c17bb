"""No path below a root filesystem leads out of it."""

from pathlib import Path

import pytest

from tasks.errors import BuildFailed
from tasks.host.chroot_paths import inside, make_folder


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/etc/passwd", "etc/passwd"),
        ("etc/../etc/./hosts", "etc/hosts"),
        ("/../../etc", "etc"),
        ("/absolute/x", "etc/x"),
        ("/relative/x", "etc/x"),
        ("/escape/x", "x"),
        ("/chain/x", "etc/x"),
        ("/missing/deeper", "missing/deeper"),
    ],
)
def test_links_are_followed_as_in_the_chroot(tmp_path: Path, path: str, expected: str) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "absolute").symlink_to("/etc")
    (tmp_path / "relative").symlink_to("./etc")
    (tmp_path / "escape").symlink_to("../../..")
    (tmp_path / "chain").symlink_to("absolute")
    assert inside(tmp_path, path) == tmp_path / expected


def test_a_circle_of_links_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(BuildFailed, match="too many links in /a"):
        inside(tmp_path, "/a")


def test_a_folder_behind_a_link_to_the_host_is_made_inside(tmp_path: Path) -> None:
    rootfs, host = tmp_path / "rootfs", tmp_path / "host"
    rootfs.mkdir()
    host.mkdir()
    (rootfs / "var").symlink_to(host)
    made = make_folder(rootfs, "/var/cache")
    assert made.is_relative_to(rootfs)
    assert list(host.iterdir()) == []
