"""Entering the root filesystem: what it needs mounted, and the command that goes in.

Two ways: `native`, with util-linux and coreutils, and `fchroot`, the program that mark-devkit's
users know. Both only inside the private mount and PID namespaces of a step.
"""

from __future__ import annotations

import os
import platform
import shutil
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tasks.errors import BuildFailed, HostUnfit
from tasks.host.binfmt import MACHINES, machine_of, require_handler_of
from tasks.host.chroot_paths import inside, make_folder
from tasks.host.mounts import bind, mount, unmount
from tasks.host.process import output
from tasks.model import Bind, Build, ChrootKind

DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
DEVICE_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}


Enter = Callable[[Sequence[str]], list[str]]
"""Turns a command of the root filesystem into the host's command that runs it."""


class Chroot:
    """A root filesystem and the way in: `prepare` it once a step, then enter as `bound` says."""

    def __init__(self, build: Build, rootfs: Path, machines: Collection[int]) -> None:
        """`machines` are those whose programs run here, see `binfmt.runnable`."""
        self._rootfs = rootfs
        self._machines = machines
        self._binds = build.chroot_binds
        self._fchroot = _fchroot(build) if build.chroot is ChrootKind.FCHROOT else ()

    def prepare(self) -> None:
        """Mount what programs expect, and copy the host's resolv.conf, as fchroot does. Missing
        sources of the job's own binds are created."""
        require_handler_of(self._rootfs, self._machines)
        for item in self._binds:
            _make_source(item)
        copy_resolv_conf(self._rootfs)
        if self._fchroot:
            hide_system(self._rootfs)
        else:
            mount_system(self._rootfs)

    @contextmanager
    def bound(self, extra: Iterable[Bind] = ()) -> Iterator[Enter]:
        """Mount the binds of the job and `extra` inside; yields how to enter. Of two binds to the
        same target the later one wins; one below the target of another shows in it."""
        chosen = {inside(self._rootfs, item.target): item for item in (*self._binds, *extra)}
        binds = [chosen[target] for target in sorted(chosen, key=lambda path: path.parts)]
        if self._fchroot:
            for item in binds:
                _bind_target(self._rootfs, item)
            options = [f"--bind={item.source}:{item.target}" for item in binds]
            yield lambda argv: [*self._fchroot, *options, str(self._rootfs), *argv]
            return
        with ExitStack() as mounted:
            for item in binds:
                target = _bind_target(self._rootfs, item)
                bind(item.source, target)
                mounted.callback(unmount, target)
            yield lambda argv: [*personality(self._rootfs), "chroot", str(self._rootfs), *argv]


def mount_system(rootfs: Path) -> None:
    """Mount /proc, /sys and a /dev of its own, with nothing of the host's but a few devices."""
    for folder in ("/proc", "/sys"):
        make_folder(rootfs, folder)
    mount("-t", "proc", "-o", "nosuid,noexec,nodev", "proc", str(inside(rootfs, "/proc")))
    _mount_sys(inside(rootfs, "/sys"))
    _mount_devices(make_folder(rootfs, "/dev"))


def _mount_sys(sys: Path) -> None:
    """The kernel's /sys to read, without what is mounted in the host's: a hook that empties its
    root filesystem reaches neither the firmware's variables nor pinned BPF programs. A user
    namespace cannot mount it, and sees the host's, which it has no rights in."""
    options = "ro,nosuid,nodev,noexec"
    code, _ = output(["mount", "-t", "sysfs", "-o", options, "sysfs", str(sys)])
    if code:
        bind("/sys", sys)


def hide_system(folder: Path) -> None:
    """Put such a /dev and /sys over those of this namespace, for programs that enter the root
    filesystem by themselves, as fchroot does, and anise for finalizers: they bind them into it,
    where a hook, or their own cleaning up, could empty them for the whole machine. The /dev is
    made in `folder`."""
    dev = make_folder(folder, "/dev")
    _mount_devices(dev)
    mount("--move", str(dev), "/dev")
    _mount_sys(Path("/sys"))


def _mount_devices(dev: Path) -> None:
    mount("-t", "tmpfs", "-o", "mode=0755,nosuid,size=4m", "dev", str(dev))
    for name in DEVICES:
        _make_device(Path("/dev", name), dev / name)
    for name, target in DEVICE_LINKS.items():
        (dev / name).symlink_to(target)
    _mount_terminals(dev / "pts")
    (dev / "shm").mkdir()
    mount("-t", "tmpfs", "-o", "mode=1777,nosuid,nodev", "shm", str(dev / "shm"))


def _make_device(host: Path, device: Path) -> None:
    """A node of its own, whose mode and owner a hook may change without changing the host's. In a
    user namespace nobody may make one: there the host's is shown, and as far as the kernel lets
    us, cannot be changed. Writing to a device is no change of it."""
    try:
        os.mknod(device, stat.S_IFCHR, host.stat().st_rdev)
    except PermissionError:
        device.touch()
        bind(host, device)
        output(["mount", "-o", "remount,bind,ro,nosuid,noexec", str(device)])
    else:
        device.chmod(0o666)


def _mount_terminals(pts: Path) -> None:
    """A devpts of its own. Group 5 is `tty` everywhere; in a user namespace it may not exist."""
    pts.mkdir()
    basic = "newinstance,ptmxmode=0666,mode=0620,nosuid,noexec"
    code, _ = output(["mount", "-t", "devpts", "-o", f"{basic},gid=5", "devpts", str(pts)])
    if code:
        mount("-t", "devpts", "-o", basic, "devpts", str(pts))


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


def personality(rootfs: Path) -> list[str]:
    """The prefix that makes `uname -m` correct in a 32-bit root filesystem on a 64-bit kernel."""
    machine = machine_of(rootfs)
    narrow = {"x86_64": MACHINES["x86"], "aarch64": MACHINES["arm"]}.get(platform.machine())
    return ["setarch", "linux32"] if machine is not None and machine == narrow else []


def _make_source(item: Bind) -> None:
    try:
        Path(item.source).mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        pass  # a file can be bound as well
    except OSError as error:
        raise HostUnfit(
            f"cannot create {item.source}, the source of a bind: {error.strerror}"
        ) from error


def _bind_target(rootfs: Path, item: Bind) -> Path:
    """Where `item` shows: a folder for a folder, a file for a file, made where it is missing."""
    source = Path(item.source)
    if not source.exists():
        raise HostUnfit(
            f"the source of a bind is missing: {item.source} (to be shown at {item.target})",
            "create it on this host, or remove it from chroot_binds",
        )
    if source.is_dir():
        return make_folder(rootfs, item.target)
    target = inside(rootfs, item.target)
    make_folder(rootfs, str(target.parent.relative_to(rootfs)))
    if not target.exists():
        target.touch()
    return target


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
