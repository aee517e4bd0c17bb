"""Entering the root filesystem: what it needs mounted, and the way in.

By default in a container (`tasks.container`). With `privileges: host` by coreutils' `chroot`, or by
`fchroot`, the program that mark-devkit's users know. All only inside the private mount and PID
namespaces of a step.
"""

from __future__ import annotations

import os
import platform
import shutil
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tasks.container.container import Contained, Enter, container
from tasks.container.devices import mount_devices
from tasks.container.network import NAME_SERVER
from tasks.container.view import bind_target, mount_sys
from tasks.errors import BuildFailed, HostUnfit, of_system
from tasks.host.binfmt import MACHINES, machine_of, require_handler_of
from tasks.host.chroot_paths import inside, make_folder
from tasks.host.mounts import bind, mount, unmount
from tasks.model import Bind, Build, ChrootKind, Network, Privileges, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """What a step has to know of this host, found out before it starts: which `machines`' programs
    run here (`binfmt.runnable`), the compiled filters of system calls for the containers that it
    opens (`seccomp.filters`), the addresses that an isolated network does not lead to, and the
    folder of a control group for the init of a stage. It goes to the step's process as JSON."""

    machines: tuple[int, ...]
    filters: dict[Privileges, bytes] = field(default_factory=dict)
    keep_from: tuple[str, ...] = ()
    group_of_init: str = ""


@dataclass(frozen=True, slots=True)
class Way:
    """How to run a command of the root filesystem: the words before it, and what a new process
    calls before it becomes the command."""

    prefix: tuple[str, ...] = ()
    enter: Enter | None = None


ON_HOST = Way()


class Chroot:
    """A root filesystem and the way in: `prepare` it once a step, then enter as `bound` says."""

    def __init__(self, build: Build, step: Step, rootfs: Path, host: HostFacts) -> None:
        self._rootfs = rootfs
        self._host = host
        self._binds = build.chroot_binds
        self._fchroot = _fchroot(build) if build.chroot is ChrootKind.FCHROOT else ()
        self._privileges = build.privileges_of(step)
        self._network = step.network

    def prepare(self) -> None:
        """Mount what programs expect, and copy the host's resolv.conf, as fchroot does. Missing
        sources of the job's own binds are created."""
        require_handler_of(self._rootfs, self._host.machines)
        for item in self._binds:
            _make_source(item)
        copy_resolv_conf(self._rootfs)
        if self._network is Network.ISOLATED:
            inside(self._rootfs, "/etc/resolv.conf").write_text(f"nameserver {NAME_SERVER}\n")
        if self._fchroot:
            hide_system(self._rootfs)
        elif self._privileges is Privileges.HOST:
            mount_system(self._rootfs)

    @contextmanager
    def bound(self, extra: Iterable[Bind] = ()) -> Iterator[Way]:
        """Mount the binds of the job and `extra` inside; yields how to enter. Of two binds to the
        same target the later one wins; one below the target of another shows in it. What still
        runs in a container ends with it."""
        chosen = {inside(self._rootfs, item.target): item for item in (*self._binds, *extra)}
        binds = [chosen[target] for target in sorted(chosen, key=lambda path: path.parts)]
        if self._fchroot:
            yield self._by_fchroot(binds)
            return
        if self._privileges is Privileges.HOST:
            with mounted(self._rootfs, binds):
                yield Way((*personality(self._rootfs), "chroot", str(self._rootfs)))
            return
        with container(self._contained(binds)) as enter:
            yield Way(enter=enter)

    def _by_fchroot(self, binds: Sequence[Bind]) -> Way:
        for item in binds:
            bind_target(self._rootfs, item)
        options = [f"--bind={item.source}:{item.target}" for item in binds]
        return Way((*self._fchroot, *options, str(self._rootfs)))

    def _contained(self, binds: Sequence[Bind]) -> Contained:
        return Contained(
            rootfs=self._rootfs,
            binds=binds,
            privileges=self._privileges,
            network=self._network,
            filter=self._host.filters[self._privileges],
            narrow=is_narrow(self._rootfs),
            keep_from=self._host.keep_from,
        )


@contextmanager
def mounted(rootfs: Path, binds: Sequence[Bind]) -> Iterator[None]:
    """`binds` in `rootfs`, as long as the body runs."""
    with ExitStack() as stack:
        for item in binds:
            target = bind_target(rootfs, item)
            bind(item.source, target)
            stack.callback(unmount, target)
        yield


def mount_system(rootfs: Path) -> None:
    """Mount /proc, /sys and a /dev of its own, with nothing of the host's but a few devices."""
    for folder in ("/proc", "/sys"):
        make_folder(rootfs, folder)
    mount("-t", "proc", "-o", "nosuid,noexec,nodev", "proc", str(inside(rootfs, "/proc")))
    with refused_by_host():
        mount_sys(inside(rootfs, "/sys"))
        mount_devices(make_folder(rootfs, "/dev"), only_these=False)


def hide_system(folder: Path) -> None:
    """Put such a /dev and /sys over those of this namespace, for programs that enter the root
    filesystem by themselves, as fchroot does, and anise for finalizers: they bind them into it,
    where a hook, or their own cleaning up, could empty them for the whole machine. The /dev is
    made in `folder`."""
    dev = make_folder(folder, "/dev")
    with refused_by_host():
        mount_devices(dev, only_these=False)
        mount("--move", str(dev), "/dev")
        mount_sys(Path("/sys"))


@contextmanager
def refused_by_host() -> Iterator[None]:
    """What the system refuses is a `HostUnfit`."""
    try:
        yield
    except OSError as error:
        raise of_system(error) from error


def copy_resolv_conf(rootfs: Path) -> None:
    """Put the host's /etc/resolv.conf there as a file; never through a link, which may lead out.

    The file stays, as it does with fchroot: hooks in the field remove it themselves, and fail
    where it is missing.
    """
    host = Path("/etc/resolv.conf")
    if not host.is_file():
        return
    target = make_folder(rootfs, "/etc") / "resolv.conf"
    try:
        if os.path.lexists(target) and not stat.S_ISREG(target.lstat().st_mode):
            target.unlink()
        shutil.copyfile(host, target)
    except OSError as error:
        raise BuildFailed(
            f"cannot write /etc/resolv.conf in the root filesystem: {error.strerror}"
        ) from error


def personality(rootfs: Path) -> tuple[str, ...]:
    """The prefix that makes `uname -m` correct in a 32-bit root filesystem on a 64-bit kernel."""
    return ("setarch", "linux32") if is_narrow(rootfs) else ()


def is_narrow(rootfs: Path) -> bool:
    """Whether `rootfs` is a 32-bit one on a 64-bit kernel that runs it by itself."""
    machine = machine_of(rootfs)
    narrow = {"x86_64": MACHINES["x86"], "aarch64": MACHINES["arm"]}.get(platform.machine())
    return machine is not None and machine == narrow


def _make_source(item: Bind) -> None:
    try:
        Path(item.source).mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        pass  # a file can be bound as well
    except OSError as error:
        raise HostUnfit(
            f"cannot create {item.source}, the source of a bind: {error.strerror}"
        ) from error


def _fchroot(build: Build) -> tuple[str, ...]:
    """fchroot and the options that mark-devkit gives it; `HostUnfit` where it cannot work."""
    program = require_fchroot()
    debug = ["--debug"] if build.fchroot_debug else []
    cpu = [f"--cpu={build.cpu}"] if build.cpu else []
    return (program, "-v", *debug, "--preserve-env", *cpu)


def require_fchroot() -> str:
    """The path of fchroot; `HostUnfit` where it cannot work."""
    program = shutil.which("fchroot")
    if not program:
        raise HostUnfit(
            "fchroot is not installed", "pip install fchroot, or leave out --chroot=fchroot"
        )
    if not Path("/bin/chroot").exists():
        raise HostUnfit(
            "fchroot needs /bin/chroot, which this host has elsewhere",
            "ln -s /usr/sbin/chroot /bin/chroot, or use the native chroot",
        )
    return program
