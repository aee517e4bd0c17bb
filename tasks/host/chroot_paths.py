"""Paths inside an untrusted root filesystem.

A link in a hostile seed may point anywhere. All access of the host to a root filesystem goes
through `inside`, which follows links as a process in the chroot would: never out of it.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from tasks.errors import BuildFailed

LINKS_MAX = 40
"""Links followed in one path; the kernel has the same limit."""


def inside(rootfs: Path, path: str) -> Path:
    """The real location below `rootfs` of `path`, absolute or relative to the root; missing
    parts are taken literally. `BuildFailed` for a loop of links."""
    pending = list(reversed(PurePosixPath(path).parts))
    found: list[str] = []
    links = 0
    while pending:
        part = pending.pop()
        if part == "/":
            found = []
        elif part == "..":
            found = found[:-1]
        elif (here := rootfs.joinpath(*found, part)).is_symlink():
            links += 1
            if links > LINKS_MAX:
                raise BuildFailed(f"too many links in {path} of the root filesystem")
            pending.extend(reversed(PurePosixPath(here.readlink()).parts))
        else:
            found.append(part)
    return rootfs.joinpath(*found)


def make_folder(rootfs: Path, path: str) -> Path:
    """The folder `path` below `rootfs`, created if it is missing."""
    folder = inside(rootfs, path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BuildFailed(
            f"cannot create {path} in the root filesystem: {error.strerror}"
        ) from error
    return folder
