"""What a container sees: its root filesystem as the root, with /proc, /sys and /dev of its own.

Everything here changes mounts, and is meant for the first process of a container, in a mount
namespace of its own. Nothing that is mounted inside opens a device, except for those of its /dev
and devices that a job binds by their name.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tasks.container.devices import mount_devices
from tasks.errors import HostUnfit
from tasks.host import syscalls
from tasks.host.chroot_paths import inside, make_folder
from tasks.host.syscalls import MS_BIND, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY, MS_REC
from tasks.model import Bind

READ_ONLY = ("bus", "fs", "irq", "sys", "sysrq-trigger")
"""In /proc: what changes the host where root writes to it."""

MASKED = (
    *("acpi", "asound", "driver", "dynamic_debug", "fb", "iomem", "ioports", "kallsyms", "kcore"),
    *("key-users", "keys", "kmsg", "kpagecgroup", "kpagecount", "kpageflags", "latency_stats"),
    *("mtrr", "sched_debug", "scsi", "slabinfo", "timer_list", "timer_stats", "vmallocinfo"),
)
"""In /proc: what tells of the host and its kernel, and no build has to know."""

BARE = MS_NOSUID | MS_NODEV | MS_NOEXEC


def enter_rootfs(rootfs: Path, binds: Iterable[Bind], *, own_groups: bool = False) -> None:
    """Make `rootfs` this mount namespace's root, with `binds` and what programs expect; with
    `own_groups` also the control groups below its own. Of the host's tree nothing is left that a
    path or a second chroot could lead to."""
    syscalls.mount(str(rootfs), rootfs, "", MS_BIND | MS_REC)
    syscalls.restrict_mounts(rootfs, MS_NODEV)
    mount_devices(make_folder(rootfs, "/dev"), only_these=True)
    mount_sys(make_folder(rootfs, "/sys"))
    if own_groups:
        syscalls.mount("cgroup2", inside(rootfs, "/sys/fs/cgroup"), "cgroup2", BARE)
    _mount_proc(make_folder(rootfs, "/proc"), empty=inside(rootfs, "/dev/null"))
    for item in binds:
        _mount_bind(rootfs, item)
    syscalls.pivot_root(rootfs)


def _mount_proc(proc: Path, empty: Path) -> None:
    """The /proc of this PID namespace. A file is masked by the null device, a folder by an empty
    one."""
    syscalls.mount("proc", proc, "proc", BARE)
    for name in READ_ONLY:
        if (path := proc / name).exists():
            syscalls.bind(path, path, BARE | MS_RDONLY)
    for path in (proc / name for name in MASKED):
        if path.is_dir():
            syscalls.mount("masked", path, "tmpfs", BARE | MS_RDONLY, "size=0,mode=0555")
        elif path.exists():
            syscalls.bind(empty, path)


def mount_sys(sys: Path) -> None:
    """The kernel's /sys to read, without what is mounted in the host's: the firmware's variables,
    control groups, pinned BPF programs. Who does not own the network namespace cannot mount it,
    and nobody can above itself: there the host's is shown, to be read."""
    try:
        syscalls.mount("sysfs", sys, "sysfs", BARE | MS_RDONLY)
    except OSError:
        syscalls.mount("/sys", sys, "", MS_BIND | MS_REC)
        syscalls.restrict_mounts(sys, BARE | MS_RDONLY)


def _mount_bind(rootfs: Path, item: Bind) -> None:
    """A device that a bind names opens; none in a folder does."""
    source, target = Path(item.source), bind_target(rootfs, item)
    syscalls.mount(item.source, target, "", MS_BIND | MS_REC)
    if not source.is_char_device():
        syscalls.restrict_mounts(target, MS_NODEV)


def bind_target(rootfs: Path, item: Bind) -> Path:
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
