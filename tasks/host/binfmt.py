"""Root filesystems of another architecture: what this machine can run.

The kernel starts a foreign program through a handler registered in binfmt_misc. Machine numbers
are those of the ELF specification (`e_machine`).
"""

from __future__ import annotations

import platform
from collections.abc import Collection
from pathlib import Path

from tasks.errors import HostUnfit
from tasks.host.chroot_paths import inside

BINFMT = Path("/proc/sys/fs/binfmt_misc")
MACHINE_OFFSET = 18

MACHINES: dict[str, int] = {
    "x86-64bit": 62, "x86_64": 62, "amd64": 62,
    "x86-32bit": 3, "x86": 3, "i486": 3, "i686": 3,
    "arm-64bit": 183, "arm64": 183, "aarch64": 183,
    "arm-32bit": 40, "arm": 40, "armv7a": 40, "armv7l": 40, "armv6l": 40,
    "riscv-64bit": 243, "riscv": 243, "riscv64": 243,
    "ppc-64bit": 21, "ppc64": 21, "ppc64le": 21, "ppc": 20,
    "s390x": 22, "s390": 22, "mips": 8, "loong": 258, "loongarch64": 258,
    "sparc64": 43, "sparc": 43, "hppa": 15, "m68k": 4, "alpha": 0x9026,
}  # fmt: skip
"""The names that Funtoo, Gentoo and `uname -m` give to architectures."""

ALSO_RUNS = {62: {3}, 183: {40}, 21: {20}}
"""Machines whose kernel runs programs of others by itself."""


def require_handler_for(arch: str) -> None:
    """`HostUnfit` where programs of `arch` cannot run here. An unknown name passes: the
    root filesystem itself is checked later."""
    if arch in MACHINES and MACHINES[arch] not in runnable():
        raise _unfit(arch)


def require_handler_of(rootfs: Path, machines: Collection[int]) -> None:
    """The same for the programs in `rootfs`, on a host that runs those of `machines`."""
    machine = machine_of(rootfs)
    if machine is not None and machine not in machines:
        raise _unfit(_name(machine))


def runnable() -> tuple[int, ...]:
    """The machines whose programs run on this one. Call it outside of a step's namespaces: the
    handlers work in there, but cannot be listed."""
    own = MACHINES.get(platform.machine(), 0)
    return tuple(sorted({own, *ALSO_RUNS.get(own, ()), *_handled()}))


def is_foreign(rootfs: Path) -> bool:
    """Whether the programs in `rootfs` are for machines that this one's kernel does not run by
    itself."""
    own = MACHINES.get(platform.machine(), 0)
    machine = machine_of(rootfs)
    return machine is not None and machine not in {own, *ALSO_RUNS.get(own, ())}


def machine_of(rootfs: Path) -> int | None:
    """The machine that `/bin/sh` or `/bin/bash` of `rootfs` is compiled for, None where neither
    is an ELF program."""
    for program in ("/bin/sh", "/bin/bash"):
        try:
            with inside(rootfs, program).open("rb") as file:
                header = file.read(MACHINE_OFFSET + 2)
        except OSError:
            continue
        if header.startswith(b"\x7fELF") and len(header) == MACHINE_OFFSET + 2:
            return _machine(header)
    return None


def _machine(header: bytes) -> int:
    order = "little" if header[5] == 1 else "big"
    return int.from_bytes(header[MACHINE_OFFSET:], order)  # type: ignore[arg-type]


def _unfit(name: str) -> HostUnfit:
    return HostUnfit(
        f"this machine ({platform.machine()}) cannot run programs of {name}: "
        "no handler is registered in binfmt_misc",
        "install qemu-user-static and binfmt-support (Debian), or app-emulation/qemu with "
        "static-user (Gentoo), and check that /proc/sys/fs/binfmt_misc is mounted",
    )


def _handled() -> set[int]:
    """The machines that enabled handlers recognise by their magic bytes."""
    if not (BINFMT / "status").is_file() or "enabled" not in (BINFMT / "status").read_text():
        return set()
    entries = (file for file in BINFMT.iterdir() if file.name not in ("status", "register"))
    return {machine for file in entries if (machine := _recognised(file.read_text())) is not None}


def _recognised(entry: str) -> int | None:
    lines = entry.splitlines()
    words = dict(line.split(" ", 1) for line in lines if " " in line)
    magic = bytes.fromhex(words.get("magic", ""))
    if lines[0] != "enabled" or words.get("offset") != "0" or len(magic) < MACHINE_OFFSET + 2:
        return None
    return _machine(magic[: MACHINE_OFFSET + 2]) if magic.startswith(b"\x7fELF") else None


def _name(machine: int) -> str:
    return next((name for name, number in MACHINES.items() if number == machine), f"ELF {machine}")
