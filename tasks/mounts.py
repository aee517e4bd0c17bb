"""Mounts, by util-linux. Only inside the private mount namespace of a step, which ends them all."""

from __future__ import annotations

from pathlib import Path

from tasks import bare
from tasks.errors import HostUnfit
from tasks.process import output


def bind(source: str | Path, target: str | Path) -> None:
    """Show the folder or file `source`, with all mounted below it, at `target`."""
    mount("--rbind", str(source), str(target))


def overlay(*, lower: Path, upper: Path, work: Path, target: Path) -> None:
    """Show `lower` at `target`; what is changed there goes to `upper`.

    `index=on` keeps files that are hard links of each other so when one is changed, and `xino`
    their numbers, so that the overlay packs as a plain folder would. See the kernel's
    Documentation/filesystems/overlayfs.rst.
    """
    layers = f"lowerdir={lower},upperdir={upper},workdir={work}"
    attempts = (f"{layers},index=on,xino=auto,redirect_dir=on", f"{layers},userxattr", layers)
    for options in attempts:
        code, said = output(["mount", "-t", "overlay", "overlay", "-o", options, str(target)])
        if code == 0:
            return
    raise HostUnfit(f"cannot mount an overlay at {target}: {said}", "set rootfs = 'plain'")


def unmount(target: Path) -> None:
    """Take what is mounted at `target` out of sight, and away once nobody uses it. A hook may have
    done it before."""
    code, said = output(["umount", "--lazy", "--recursive", str(target)])
    if code and bare.mounted_at_or_below(target):
        raise HostUnfit(f"cannot unmount {target}: {said}")


def mount(*arguments: str) -> None:
    """`mount` with these arguments; `HostUnfit` with its words where it fails."""
    code, said = output(["mount", *arguments])
    if code:
        raise HostUnfit(f"cannot mount {arguments[-1]}: {said}")


def can_overlay(folder: Path) -> bool:
    """Whether an overlay can be mounted in `folder`; tried out there, in a private namespace."""
    script = (
        'mkdir -p "$1"/l "$1"/u "$1"/w "$1"/t && mount -t overlay o -o '
        'lowerdir="$1"/l,upperdir="$1"/u,workdir="$1"/w "$1"/t; code=$?; umount "$1"/t; '
        'rm -rf "$1"; exit $code'
    )
    code, _ = output(["unshare", "--mount", "sh", "-c", script, "sh", str(folder / ".probe")])
    return code == 0
