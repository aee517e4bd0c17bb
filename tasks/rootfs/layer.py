"""Layers: what a build changes of its seed, mounted above it with overlayfs.

    layer/upper      what was changed
    layer/work       overlayfs's own
    layer/options    the mount options; written once the first mount has succeeded

A layer is always mounted with the options that it was made with: with others, what it says of
removed and renamed files is read differently (`userxattr` looks for `user.overlay.opaque`, where
the other options look for `trusted.overlay.opaque`). See the kernel's
Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tasks.errors import HostUnfit
from tasks.host.files import make_folder, replaced
from tasks.host.process import output
from tasks.host.removal import remove_tree

OPTIONS = ("index=on,xino=auto,redirect_dir=on", "userxattr", "")
"""What is tried in this order. `index=on` keeps files that are hard links of each other so when one
is changed, and `xino` their numbers, so that the overlay packs as a plain folder would."""


def mount_layer(layer: Path, *, lower: Path, target: Path) -> None:
    """Show the folder `lower` at `target`; what is changed there goes to the folder `layer`.
    `HostUnfit` where overlayfs cannot be mounted."""
    chosen = layer / "options"
    if chosen.exists():
        said = _mount(layer, lower, target, chosen.read_text())
    else:
        said = _begin(layer, lower, target)
    if said:
        raise HostUnfit(f"cannot mount an overlay at {target}: {said}", "set rootfs = 'plain'")


def _begin(layer: Path, lower: Path, target: Path) -> str:
    """Mount a new layer with the first options that this machine accepts, and record them in it;
    returns the error of `mount` if it accepts none.

    A layer that has no options yet was never handed to a build, so it is created again: a
    mount that failed or was killed may have left marks in it.
    """
    said = ""
    for options in OPTIONS:
        remove_tree(layer)
        _make_like(layer / "upper", lower)
        make_folder(layer / "work")
        if not (said := _mount(layer, lower, target, options)):
            with replaced(layer / "options") as file:
                file.write(options.encode())
            return ""
    return said


def can_overlay(folder: Path) -> bool:
    """Whether an overlay can be mounted in `folder`; tested there, in a private namespace."""
    script = (
        'mkdir -p "$1"/l "$1"/u "$1"/w "$1"/t && mount -t overlay o -o '
        'lowerdir="$1"/l,upperdir="$1"/u,workdir="$1"/w "$1"/t; code=$?; umount "$1"/t; '
        'rm -rf "$1"; exit $code'
    )
    code, _ = output(["unshare", "--mount", "sh", "-c", script, "sh", str(folder / ".probe")])
    return code == 0


def _mount(layer: Path, lower: Path, target: Path, options: str) -> str:
    """Mount the overlay; returns the error of `mount`, empty on success."""
    folders = f"lowerdir={lower},upperdir={layer / 'upper'},workdir={layer / 'work'}"
    words = ["-o", ",".join(filter(None, (folders, options))), str(target)]
    code, said = output(["mount", "-t", "overlay", "overlay", *words])
    return (said or f"exit code {code}") if code else ""


def _make_like(folder: Path, model: Path) -> None:
    """Make `folder` with the owner, mode, times and attributes of `model`: what the top of a layer
    has, the root of the root filesystem has."""
    make_folder(folder)
    entry = model.stat()
    os.chown(folder, entry.st_uid, entry.st_gid)
    shutil.copystat(model, folder)
