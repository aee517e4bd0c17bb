"""Whether this host can do builds.

`unfit` checks what every build needs, `unfit_for` what one build needs; both run before a build is
claimed. What cannot be checked before raises `HostUnfit` in the build, which is then handed back.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tasks.container import seccomp
from tasks.errors import HostUnfit, StagefarmError, of_system
from tasks.host.process import output
from tasks.model import Build, ChrootKind, Privileges, SourceType
from tasks.rootfs.chroot import require_fchroot
from tasks.settings import Settings
from tasks.step.launcher import NAMESPACES, require_fit
from tasks.store.folder import cannot_write
from tasks.store.opening import open_store
from tasks.trust.policy import host_key, trust_of

logger = logging.getLogger(__name__)

PROGRAMS = ("mount", "rm", "setpriv", "tar", "unshare")
FULL_BYTES = 16 * 2**20
"""A disk with less free space counts as full: the write that failed may have needed more."""

CLOCK_LIMIT_S = 300.0
"""A larger error of the clock breaks certificates, signatures and the times of files."""

LONGEST_PAUSE_S = 60.0
HANGS_S = 30.0


def unfit(settings: Settings) -> str:
    """Why this host can do no build at all now; empty if it can."""
    return next(_reasons(settings), "")


def _reasons(settings: Settings) -> Iterator[str]:
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    if missing:
        yield f"this machine has no {', '.join(missing)}"
    if reason := _cannot_contain():
        yield reason
    if reason := cannot_write(settings.state / "builds"):
        yield f"cannot write to the state folder: {reason}"
    if reason := _too_little_disk(settings):
        yield reason
    if reason := _no_keys(settings):
        yield reason
    if reason := open_store(settings).unfit():
        yield reason


def _cannot_contain() -> str:
    try:
        seccomp.program(Privileges.CONTAINED)
    except HostUnfit as error:
        return str(error)
    return ""


def _no_keys(settings: Settings) -> str:
    """Why this host can verify no job, or sign no result."""
    try:
        trust_of(settings)
        host_key(settings)
    except StagefarmError as error:
        return f"{error}; {error.hint}" if error.hint else str(error)
    return ""


def _too_little_disk(settings: Settings) -> str:
    free, wanted = shutil.disk_usage(settings.state).free, settings.disk_free_min_bytes
    if free < wanted:
        return f"{free // 2**20} MiB free in {settings.state}, {wanted // 2**20} MiB wanted"
    return ""


def unfit_for(build: Build) -> str:
    """Why this host cannot do `build`, as far as can be checked before; empty if it can."""
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
    """A message that the disk of `folder` is full; empty if it is not."""
    try:
        disk = os.statvfs(folder)
    except OSError as error:
        return str(of_system(error))
    if disk.f_bfree * disk.f_frsize < FULL_BYTES:
        return f"the disk of {folder} is full"
    return f"the disk of {folder} has no inodes left" if disk.f_files and not disk.f_ffree else ""


def clock_off(here: float, farm: float) -> str:
    """A message that the clock `here` differs too much from the farm's; empty if it does not. Both
    in seconds since 1970."""
    off = here - farm
    if abs(off) <= CLOCK_LIMIT_S:
        return ""
    return f"its clock is {abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} the farm's"


class Fitness:
    """Checks this host periodically in its own thread, so that a store that hangs does not block
    the heartbeat; with backoff while the host is unfit."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._found = ""
        self._isolates = False
        self._began = 0.0
        self._clock = ""
        self._remarked = False
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
            return f"the check of its state folder and the store has taken {since:.0f} s so far"
        return self._found or self._clock

    def hear(self, farm_time: float) -> None:
        """Compare this host's clock with the farm's."""
        self._clock = clock_off(time.time(), farm_time)

    def look(self) -> None:
        self._began = time.monotonic()
        try:
            self._found = unfit(self._settings) or self._cannot_isolate()
            if not self._found and not self._remarked:
                self._remark()
        except OSError as error:
            self._found = str(of_system(error))
        finally:
            self._began = 0.0

    def _remark(self) -> None:
        """Log once what the operator should know of the store."""
        try:
            if remark := open_store(self._settings).remark():
                logger.warning("%s", remark)
            self._remarked = True
        except StagefarmError as error:
            logger.warning("%s", error)

    def _cannot_isolate(self) -> str:
        """Why no namespaces can be made here; not checked again after it has worked once."""
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
