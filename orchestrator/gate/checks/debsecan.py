"""Debian's data on vulnerabilities, in the form that the program debsecan downloads.

It is the file `GENERIC`, or one named like a release, of
https://security-tracker.debian.org/tracker/debsecan/release/1/. It is zlib's; unpacked, its blocks
are: `name,flags,description` of each vulnerability; `package,number of the vulnerability,flags,
fixed version,other fixed versions` of each package. The rules are those of debsecan 0.4's
`Vulnerability.is_vulnerable`.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from orchestrator.gate.checks.faults import Fault
from orchestrator.gate.versions import compare
from tasks.artifacts.packages import Package

DATA_MAX, LINES_MAX = 32 << 20, 1_000_000
"""Unpacked bytes that are read of a file, and lines of each block."""
_FILE = re.compile(r"/var/lib/debsecan/(?!history$)[^/]+")
_SOURCE = re.compile(r"(?P<name>[a-zA-Z0-9.+-]+)(?:\s+\((?P<version>\S+)\))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Vulnerability:
    """One vulnerability of one package: of the sources, or if `is_binary` of a package of them."""

    name: str
    title: str
    package: str
    is_binary: bool
    fixed: str
    others: tuple[str, ...]

    def affects(self, installed: Installed) -> bool:
        if self.is_binary and self.package == installed.name:
            return not self._has_fix(installed.version)
        if self.package != installed.source or installed.source_version in self.others:
            return False
        return not self._has_fix(installed.source_version)

    def _has_fix(self, version: str) -> bool:
        return bool(self.fixed) and compare("dpkg", version, self.fixed) >= 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A package of dpkg, and that of its sources."""

    name: str
    version: str
    source: str
    source_version: str


Known = dict[str, list[Vulnerability]]
"""By the name of the package."""


def read(texts: Mapping[str, bytes]) -> Known:
    """What the files of a stage know; lines that make no sense are left out."""
    known: Known = {}
    for path, data in texts.items():
        if _FILE.fullmatch(path):
            _add(known, _unpacked(data).decode("utf-8", "replace"))
    return known


def _unpacked(data: bytes) -> bytes:
    if data.startswith(b"VERSION "):
        return data
    with suppress(zlib.error):
        return zlib.decompressobj().decompress(data, DATA_MAX)
    return b""


def _add(known: Known, text: str) -> None:
    head, _, rest = text.partition("\n")
    if head != "VERSION 1":
        return
    names, packages = (*rest.split("\n\n", 2), "", "")[:2]
    vulnerabilities = names.split("\n", LINES_MAX)
    for line in packages.split("\n", LINES_MAX):
        with suppress(ValueError, IndexError):
            package, number, flags, fixed, others = line.split(",", 4)
            name, _, title = vulnerabilities[int(number)].split(",", 2)
            known.setdefault(package, []).append(
                Vulnerability(
                    name=name,
                    title=title,
                    package=package,
                    is_binary=flags.startswith("B"),
                    fixed=fixed,
                    others=tuple(others.split()),
                )
            )


def affected(packages: Sequence[Package], known: Known) -> Iterator[Fault]:
    for item in map(_installed, (item for item in packages if item.manager == "dpkg")):
        for vulnerability in known.get(item.source) or known.get(item.name) or ():
            if vulnerability.affects(item):
                name = vulnerability.name
                message = f"{item.version}: {name}, {vulnerability.title}"
                yield Fault(path=item.name, value=name, message=message)


def _installed(package: Package) -> Installed:
    match = _SOURCE.fullmatch(package.source)
    return Installed(
        name=package.name,
        version=package.version,
        source=match["name"] if match else package.name,
        source_version=(match and match["version"]) or package.version,
    )
