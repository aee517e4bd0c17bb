"""Real Debian root filesystems, made by debootstrap and kept between runs in pytest's cache."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tasks.host.locks import exclusive
from tests import trees

WITH_INIT = ("amd64",)
"""Those that can be booted here have an init."""

METADATA = ("--numeric-owner", "--xattrs", "--xattrs-include=*", "--acls")


def tarball(cache: Path, architecture: str, *, again: bool = False) -> Path:
    """A minimal Debian with one of everything in /srv, as a tarball; made if it is not there, by
    one of the processes that run tests. `again`: another one, made in the same way."""
    found = cache / f"debian-{architecture}-root{'-again' if again else ''}.tar"
    with exclusive(found):
        if found.exists():
            return found
        if not shutil.which("debootstrap"):
            pytest.skip("needs debootstrap")
        with tempfile.TemporaryDirectory() as folder:
            made = _debootstrap(Path(folder), architecture)
            trees.one_of_everything(made / "srv/everything")
            partial = found.with_suffix(".partial")
            tar("-C", made, "-cf", partial, ".")
            partial.rename(found)
        return found


def _debootstrap(folder: Path, architecture: str) -> Path:
    """Run debootstrap with this machine's own release and mirror, in a mount namespace: it mounts
    /proc, and leaves it behind where it is ended."""
    root = folder / "root"
    site, suite = _mirror()
    more = ["--include=systemd-sysv"] if architecture in WITH_INIT else []
    words = ["debootstrap", "--variant=minbase", *more, f"--arch={architecture}"]
    words += [suite, str(root), site]
    made = subprocess.run(
        ["unshare", "--mount", "--", *words], capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stdout[-2000:] + made.stderr[-2000:]
    shutil.rmtree(root / "var/cache/apt/archives")
    shutil.rmtree(root / "var/lib/apt/lists")
    return root


def _mirror() -> tuple[str, str]:
    """The first mirror that apt is set up with, and its release."""
    words = ["apt-get", "indextargets", "--format", "$(SITE) $(CODENAME)", "Created-By: Packages"]
    lines = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    site, suite = next(line for line in lines if "-" not in line.split()[1]).split()
    return site, suite


def tar(*words: str | Path) -> None:
    """GNU tar with all metadata, independent of the code under test."""
    subprocess.run(["tar", *METADATA, "--sparse", *map(str, words)], check=True)


def unpacked(tarball: Path, folder: Path) -> dict[str, tuple[object, ...]]:
    """Everything in `tarball`, as `trees.listing` tells it."""
    folder.mkdir(parents=True)
    tar("-C", folder, "-xpf", tarball)
    found = trees.listing(folder)
    shutil.rmtree(folder)
    return found


def can_run(architecture: str) -> bool:
    """Whether programs of `architecture` can run here."""
    handlers = {"arm64": "qemu-aarch64"}
    name = handlers.get(architecture)
    return name is None or Path("/proc/sys/fs/binfmt_misc", name).exists()
