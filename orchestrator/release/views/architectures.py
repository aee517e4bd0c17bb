"""What the architectures of stages are called elsewhere.

Specfiles have mark-devkit's and Funtoo's names (`x86-64bit`) or Gentoo's (`amd64`). Registries have
those of Go (GOARCH and variant), Incus those of Debian.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from orchestrator.release.catalog import Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """An architecture by its names; one is empty where the others have none for it. `subarch` is
    empty for the generic one; `is_told` says that `oci_variant` tells it apart already."""

    gentoo: str
    oci: str = ""
    oci_variant: str = ""
    debian: str = ""
    kernel: str = ""
    subarch: str = ""

    @property
    def is_told(self) -> bool:
        return not self.subarch or bool(self.oci_variant)


# Gentoo, OCI, OCI's variant, Debian, the kernel (which Incus has in metadata.yaml)
_KNOWN = {
    "x86-64bit amd64 x86_64 x86-64": ("amd64", "amd64", "", "amd64", "x86_64"),
    "x86-32bit x86 i386 i486 i586 i686": ("x86", "386", "", "i386", "i686"),
    "arm-64bit arm64 aarch64": ("arm64", "arm64", "", "arm64", "aarch64"),
    "riscv-64bit riscv64 riscv": ("riscv", "riscv64", "", "riscv64", "riscv64"),
    "ppc64le ppc64el powerpc64le": ("ppc", "ppc64le", "", "ppc64el", "ppc64le"),
    "ppc64 powerpc64 ppc-64bit": ("ppc", "ppc64", "", "powerpc64", "ppc64"),
    "ppc powerpc ppc-32bit": ("ppc", "", "", "powerpc", "ppc"),
    "s390x s390": ("s390", "s390x", "", "s390x", "s390x"),
    "loong loong64 loongarch64": ("loong", "loong64", "", "loong64", "loongarch64"),
}
_NAMES = {name: names for aliases, names in _KNOWN.items() for name in aliases.split()}

_ARM = {"5": ("v5", "armel", ""), "6": ("v6", "armel", "armv6l"), "7": ("v7", "armhf", "armv7l")}
"""OCI's variant, Debian's name and the kernel's, by the version of the 32-bit architecture."""


def platform_of(stage: Stage) -> Platform:
    """The names of the stage's architecture. One that is not known keeps its name in Gentoo's
    layout, and has none elsewhere."""
    arch, subarch = stage.arch.lower(), stage.subarch
    if arch in ("arm", "arm-32bit", "armv5", "armv6", "armv7", "armv7l", "armhf", "armel"):
        return _arm(arch, subarch)
    gentoo, oci, variant, debian, kernel = _NAMES.get(arch, (stage.arch, "", "", "", ""))
    if level := re.fullmatch(r"x86[-_]64[-_](v[234])", subarch.lower()):
        variant = level[1] if oci == "amd64" else ""
    return Platform(
        gentoo=gentoo,
        oci=oci,
        oci_variant=variant,
        debian=debian,
        kernel=kernel,
        subarch=_specific(subarch, stage.arch, gentoo),
    )


def _arm(arch: str, subarch: str) -> Platform:
    found = re.match(r"armv([567])", subarch.lower()) or re.match(r"armv([567])", arch)
    number = found[1] if found else {"armhf": "7", "armel": "5"}.get(arch, "")
    variant, debian, kernel = _ARM.get(number, ("", "", ""))
    return Platform(
        gentoo="arm",
        oci="arm" if variant else "",
        oci_variant=variant,
        debian=debian if kernel else "",
        kernel=kernel,
        subarch=_specific(subarch, arch, "arm"),
    )


def _specific(subarch: str, *names: str) -> str:
    """`subarch`, or nothing if it says no more than the architecture does."""
    generic = subarch.lower() in ("", "generic", *(name.lower() for name in names))
    return "" if generic or subarch.lower().startswith("generic_") else subarch
