"""Whether this host can do builds.

`unfit` is about every build, `unfit_for` about one: both are looked at before a build is claimed.
What cannot be known before is found in the build (`HostUnfit`), which is then given back.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tasks.artifacts.store import FileStore
from tasks.errors import HostUnfit, of_system
from tasks.host.process import output
from tasks.model import Build, ChrootKind, SourceType
from tasks.rootfs.chroot import require_fchroot
from tasks.settings import Settings
from tasks.step.launcher import NAMESPACES, require_fit

PROGRAMS = ("mount", "rm", "setpriv", "tar", "unshare")
FULL_BYTES = 16 * 2**20
"""A disk with less free space is full: what failed for want of it may have left as much."""

CLOCK_LIMIT_S = 300.0
"""A clock that is wrong by more breaks certificates and signatures, and the times of files."""

LONGEST_PAUSE_S = 60.0
HANGS_S = 30.0


def unfit(settings: Settings) -> str:
    """Why this host can do no build at all now; empty if it can."""
    return next(_reasons(settings), "")


def _reasons(settings: Settings) -> Iterator[str]:
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    if missing:
        yield f"this machine has no {', '.join(missing)}"
    if reason := _cannot_write(settings.state / "builds"):
        yield f"cannot write to the state folder: {reason}"
    if reason := _too_little_disk(settings):
        yield reason
    if reason := _cannot_write(FileStore.at(settings.store).root):
        yield f"cannot write to the store: {reason}"


def _cannot_write(folder: Path) -> str:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            file.write(b"x")
    except OSError as error:
        return f"{folder}: {error.strerror}"
    return ""


def _too_little_disk(settings: Settings) -> str:
    free, wanted = shutil.disk_usage(settings.state).free, settings.disk_free_min_bytes
    if free < wanted:
        return f"{free // 2**20} MiB free in {settings.state}, {wanted // 2**20} MiB wanted"
    return ""


def unfit_for(build: Build) -> str:
    """Why this host cannot do `build`, as far as that can be known before; empty if it can."""
    try:
        require_fit(build)
        if build.chroot is ChrootKind.FCHROOT:
            require_fchroot()
    except HostUnfit as error:
        return str(error)
    source = build.source
    if source.type is SourceType.ANISE and not shutil.which("anise"):
        return "the source needs the anise program, which is not installed"
    if source.keyring and not shutil.which("gpgv"):
        return "the source is signed, and gpgv is not installed"
    return ""


def disk_full(folder: Path) -> str:
    """That the disk of `folder` is full, in words; empty if it is not."""
    try:
        disk = os.statvfs(folder)
    except OSError as error:
        return str(of_system(error))
    if disk.f_bfree * disk.f_frsize < FULL_BYTES:
        return f"the disk of {folder} is full"
    return f"the disk of {folder} has no inodes left" if disk.f_files and not disk.f_ffree else ""


def clock_off(here: float, farm: float) -> str:
    """That the clock here is far from the farm's, in words; empty if it is not. Both in seconds
    since 1970."""
    off = here - farm
    if abs(off) <= CLOCK_LIMIT_S:
        return ""
    return f"its clock is {abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} the farm's"


class Fitness:
    """Looks at this host again and again in a thread of its own, so that a store that hangs does
    not hold up the heartbeat; more and more seldom while the host is unfit."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._found = ""
        self._isolates = False
        self._began = 0.0
        self._clock = ""
        self._ended = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._run, name="fitness", daemon=True).start()

    def stop(self) -> None:
        self._ended.set()

    @property
    def reason(self) -> str:
        """Why this host can take no build now; empty if it can."""
        began = self._began
        if began and (since := time.monotonic() - began) > HANGS_S:
            return f"looking at its state folder and the store has taken {since:.0f} s so far"
        return self._found or self._clock

    def hear(self, farm_time: float) -> None:
        """What the farm's clock says just now."""
        self._clock = clock_off(time.time(), farm_time)

    def look(self) -> None:
        self._began = time.monotonic()
        try:
            self._found = unfit(self._settings) or self._cannot_isolate()
        except OSError as error:
            self._found = str(of_system(error))
        finally:
            self._began = 0.0

    def _cannot_isolate(self) -> str:
        """Why no namespaces can be made here; not asked again once they could."""
        if not self._isolates:
            code, said = output([*NAMESPACES, "true"])
            self._isolates = not code
            return f"cannot make namespaces: {said}" if code else ""
        return ""

    def _run(self) -> None:
        pause_s = self._settings.heartbeat_s
        while not self._ended.wait(pause_s):
            self.look()
            longer_s = min(2 * pause_s, max(LONGEST_PAUSE_S, self._settings.heartbeat_s))
            pause_s = longer_s if self._found else self._settings.heartbeat_s
