"""Trees and archives for tests: one of everything that a root filesystem can hold."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
ACL = bytes.fromhex(
    "0200000001000600ffffffff02000400d204000004000400ffffffff10000400ffffffff20000400ffffffff"
)


def one_of_everything(root: Path) -> None:
    """Fill `root` with what only root may make: owners, devices, capabilities, ACLs and so on."""
    plain(root)
    for name, kind, major, minor in (("null", stat.S_IFCHR, 1, 3), ("disk", stat.S_IFBLK, 8, 0)):
        os.mknod(root / name, kind | 0o620, os.makedev(major, minor))
    owned = root / "owned"
    owned.write_text("somebody's")
    os.chown(owned, 12345, 3_000_000_000)
    owned.chmod(0o6755)
    os.chown(root / "link", 7, 8, follow_symlinks=False)
    capable = root / "ping"
    capable.write_text("ping")
    os.setxattr(capable, "security.capability", CAPABILITY)
    guarded = root / "guarded"
    guarded.write_text("acl")
    os.setxattr(guarded, "system.posix_acl_access", ACL)
    os.setxattr(guarded, "trusted.note", b"\0\n\xff")
    os.utime(root, ns=(1, 1_234_567_890_123_456_789))


def plain(root: Path) -> None:
    """Fill `root` with what anybody may make."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "folder" / "deep").mkdir(parents=True)
    (root / "empty").mkdir(mode=0o1777)
    (root / "file").write_text("content\n")
    os.link(root / "file", root / "folder" / "hardlink")
    (root / "link").symlink_to("../../outside")
    os.mkfifo(root / "fifo", 0o640)
    (root / "folder" / "line\nbreak \\ ünï").write_text("named badly")
    Path(os.fsdecode(os.fsencode(root) + b"/not-utf8-\xff")).write_text("bytes")
    (root / ("x" * 255)).write_text("long")
    noted = root / "folder" / "noted"
    noted.write_text("xattr")
    os.setxattr(noted, "user.note", b"\0bytes\n")
    with (root / "sparse").open("wb") as file:
        file.write(b"begin")
        file.seek(8 << 20)
        file.write(b"middle")
        file.truncate(16 << 20)
    os.utime(root / "folder" / "deep", ns=(5, 981_173_106_000_000_001))
    os.utime(root / "link", ns=(5, 981_173_106_000_000_002), follow_symlinks=False)
    (root / "folder").chmod(0o2750)


def add_socket(root: Path) -> None:
    """A socket file, made by its relative name since the full one may be too long."""
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(root)
        try:
            server.bind("socket")
        finally:
            os.chdir(here)


def listing(root: Path) -> dict[str, tuple[object, ...]]:
    """Everything the file system knows of each path below `root`, save access and change times."""
    paths = [root, *root.rglob("*")]
    first = {}
    for path in sorted(paths):
        entry = path.lstat()
        first.setdefault((entry.st_dev, entry.st_ino), path)
    return {str(path.relative_to(root)): _metadata(path, first, root) for path in paths}


def _metadata(path: Path, first: dict[tuple[int, int], Path], root: Path) -> tuple[object, ...]:
    entry = path.lstat()
    regular = stat.S_ISREG(entry.st_mode)
    return (
        stat.filemode(entry.st_mode),
        entry.st_uid,
        entry.st_gid,
        entry.st_mtime_ns,
        entry.st_rdev,
        str(first[entry.st_dev, entry.st_ino].relative_to(root)),
        path.readlink() if path.is_symlink() else "",
        path.read_bytes() if regular else b"",
        regular and entry.st_blocks * 512 < entry.st_size,
        tuple(
            (name, os.getxattr(path, name, follow_symlinks=False))
            for name in sorted(os.listxattr(path, follow_symlinks=False))
        ),
    )
