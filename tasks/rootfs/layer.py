"""Layers: what a build changes of its seed, mounted above it with overlayfs.

    layer/upper      what was changed
    layer/work       overlayfs's own
    layer/options    the mount options, chosen at the first mount

A layer is always mounted with the options that it was made with: with others, what it says of
removed and renamed files may be read differently. See the kernel's
Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tasks.errors import HostUnfit
from tasks.host.files import make_folder, replaced
from tasks.host.process import output

OPTIONS = ("index=on,xino=auto,redirect_dir=on", "userxattr", "")
"""What is tried in this order. `index=on` keeps files that are hard links of each other so when one
is changed, and `xino` their numbers, so that the overlay packs as a plain folder would."""


def mount_layer(layer: Path, *, lower: Path, target: Path) -> None:
    """Show the folder `lower` at `target`; what is changed there goes to the folder `layer`.
    `HostUnfit` where overlayfs cannot be mounted."""
    upper, work = _make_like(layer / "upper", lower), make_folder(layer / "work")
    layers = f"lowerdir={lower},upperdir={upper},workdir={work}"
    chosen = layer / "options"
    said = ""
    for options in (chosen.read_text(),) if chosen.exists() else OPTIONS:
        with replaced(chosen) as file:  # before the mount: a crash must not leave a layer without
            file.write(options.encode())
        said = _mount(",".join(filter(None, (layers, options))), target)
        if not said:
            return
        if not any(upper.iterdir()):
            chosen.unlink()
    raise HostUnfit(f"cannot mount an overlay at {target}: {said}", "set rootfs = 'plain'")


def can_overlay(folder: Path) -> bool:
    """Whether an overlay can be mounted in `folder`; tried out there, in a private namespace."""
    script = (
        'mkdir -p "$1"/l "$1"/u "$1"/w "$1"/t && mount -t overlay o -o '
        'lowerdir="$1"/l,upperdir="$1"/u,workdir="$1"/w "$1"/t; code=$?; umount "$1"/t; '
        'rm -rf "$1"; exit $code'
    )
    code, _ = output(["unshare", "--mount", "sh", "-c", script, "sh", str(folder / ".probe")])
    return code == 0


def _mount(options: str, target: Path) -> str:
    """What `mount` complains of; empty if it mounted the overlay."""
    code, said = output(["mount", "-t", "overlay", "overlay", "-o", options, str(target)])
    return (said or f"exit code {code}") if code else ""


def _make_like(folder: Path, model: Path) -> Path:
    """Make `folder` with the owner, mode, times and attributes of `model`: what the top of a layer
    has, the root of the root filesystem has."""
    if not folder.exists():
        new = make_folder(folder.with_name(f"{folder.name}.new"))
        entry = model.stat()
        os.chown(new, entry.st_uid, entry.st_gid)
        shutil.copystat(model, new)
        new.rename(folder)
    return folder
