"""Lists the packages installed in a root filesystem, from the databases in it.

Reads Portage, dpkg, apk, pacman, rpm's SQLite database (rpm 4.16 and newer) and anise's BoltDB,
without any program of the distribution, and without following links out of the root filesystem.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

import msgspec

from tasks.artifacts import boltdb, rpm_database
from tasks.artifacts.rpm_database import Tag
from tasks.errors import BuildFailed
from tasks.host.chroot_paths import inside

PORTAGE = "var/db/pkg"
DPKG = ("var/lib/dpkg/status", "var/lib/dpkg/status.d")
APK = ("lib/apk/db/installed", "usr/lib/apk/db/installed")
PACMAN = "var/lib/pacman/local"
RPM = ("usr/lib/sysimage/rpm/rpmdb.sqlite", "var/lib/rpm/rpmdb.sqlite")
ANISE = ("var/cache/anise/anise.db", "var/cache/luet/luet.db")
DATABASES = (PORTAGE, *DPKG, *APK, PACMAN, *RPM, *ANISE)
"""Paths of the databases, relative to the root."""

_READ_IN = {PORTAGE: ("SLOT", "LICENSE", "repository"), PACMAN: ("desc",)}
"""The files that are read of databases with a folder for each package."""

TEXT_MAX = 64 << 20
"""Most characters of a database file that are read."""

PACKAGES_MAX = 20_000
"""A database that brings the packages of a root filesystem to more than this is not believed."""

_NAME_MAX = 255
_NOTE_MAX = 2000


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Package:
    """One installed package; `slot` is Portage's, `arch` where the manager has one. `category` and
    `repository` are anise's; Portage's names begin with their category, and have a repository too.
    `epoch` is rpm's; the versions of dpkg and pacman begin with theirs.

    `licence`, `source` (the package of the sources) and `vendor` (or who maintains the package) are
    as the database says, or empty."""

    manager: str
    name: str
    version: str
    arch: str = ""
    slot: str = ""
    category: str = ""
    repository: str = ""
    epoch: str = ""
    licence: str = ""
    source: str = ""
    vendor: str = ""

    @property
    def full_name(self) -> str:
        return f"{self.category}/{self.name}" if self.category else self.name

    @property
    def full_version(self) -> str:
        return f"{self.epoch}:{self.version}" if self.epoch else self.version

    @property
    def identity(self) -> tuple[str, ...]:
        """What tells this package from all others of a root filesystem."""
        where = (self.arch, self.slot, self.repository)
        return (self.manager, self.full_name, self.version, self.epoch, *where)


def installed(rootfs: Path, note: Callable[[str], None] = lambda text: None) -> list[Package]:
    """All packages of all managers, sorted. Damaged entries are left out; `note` is called with
    what was, and with the error of a database that cannot be read."""
    found: set[Package] = set()
    for manager, packages in _MANAGERS.items():
        listed: set[Package] = set()
        try:
            listed.update(islice(packages(rootfs), PACKAGES_MAX + 1))
        except (OSError, BuildFailed) as error:
            note(str(error))
        if len(found) + len(listed) > PACKAGES_MAX:
            note(f"with those of {manager}, there are more than {PACKAGES_MAX:,} packages")
            continue
        sound = {package for package in listed if _is_sound(package)}
        if damaged := len(listed) - len(sound):
            note(f"{damaged} packages of {manager} have no name or version that can be shown")
        found |= sound
    return sorted(found)


def is_read(path: PurePosixPath) -> bool:
    """Whether `installed` reads the file `path`, relative to the root."""
    for place, names in _READ_IN.items():
        if path.is_relative_to(place):
            return path.name in names
    return any(path.is_relative_to(place) for place in DATABASES)


def _is_sound(package: Package) -> bool:
    return all(package.identity[:3]) and all(
        text.isprintable() and text == text.strip() and len(text) <= _NAME_MAX
        for text in package.identity
    )


def _note(text: str) -> str:
    """`text` of a database on one line; nothing if it is not fit to be shown."""
    line = " ".join(text.split())
    return line if line.isprintable() and len(line) <= _NOTE_MAX else ""


_VERSION = re.compile(
    r"(?P<name>.+?)-(?P<version>\d+(\.\d+)*[a-z]?(_(pre|p|beta|alpha|rc)\d*)*(-r\d+)?)"
)  # Package Manager Specification 3.2


def _portage(rootfs: Path) -> Iterator[Package]:
    for category in _folders(rootfs, inside(rootfs, PORTAGE)):
        for folder in _folders(rootfs, category):
            if parts := _VERSION.fullmatch(folder.name):
                yield Package(
                    manager="portage",
                    name=f"{category.name}/{parts['name']}",
                    version=parts["version"],
                    slot=_text(rootfs, folder / "SLOT").strip(),
                    repository=_text(rootfs, folder / "repository").strip(),
                    licence=_note(_text(rootfs, folder / "LICENSE")),
                )


def _folders(rootfs: Path, folder: Path) -> Iterator[Path]:
    """The content of a folder that may be missing, or a link out of the root filesystem."""
    real = inside(rootfs, str(folder.relative_to(rootfs)))
    yield from real.iterdir() if real.is_dir() else ()


_GONE = ("not-installed", "config-files")  # dpkg(1), package states


def _dpkg(rootfs: Path) -> Iterator[Package]:
    status, more = (inside(rootfs, path) for path in DPKG)
    files = [status, *(more.iterdir() if more.is_dir() else ())]
    for fields in (fields for file in files for fields in _paragraphs(_text(rootfs, file), ": ")):
        state = fields.get("Status", "").rpartition(" ")[2]
        if {"Package", "Version"} <= fields.keys() and state not in _GONE:
            yield Package(
                manager="dpkg",
                name=fields["Package"],
                version=fields["Version"],
                arch=fields.get("Architecture", ""),
                source=_note(fields.get("Source", "")),
                vendor=_note(fields.get("Maintainer", "")),
            )


def _apk(rootfs: Path) -> Iterator[Package]:
    for path in APK:
        for fields in _paragraphs(_text(rootfs, inside(rootfs, path)), ":"):
            if {"P", "V"} <= fields.keys():
                yield Package(
                    manager="apk",
                    name=fields["P"],
                    version=fields["V"],
                    arch=fields.get("A", ""),
                    licence=_note(fields.get("L", "")),
                    source=_note(fields.get("o", "")),
                    vendor=_note(fields.get("m", "")),
                )


def _paragraphs(text: str, separator: str) -> Iterator[dict[str, str]]:
    """The blocks of a file of `name: value` lines, the first value of each name."""
    for block in text.split("\n\n"):
        fields: dict[str, str] = {}
        for line in block.splitlines():
            name, found, value = line.partition(separator)
            if found and not line[0].isspace():
                fields.setdefault(name, value)
        yield fields


def _pacman(rootfs: Path) -> Iterator[Package]:
    for folder in _folders(rootfs, inside(rootfs, PACMAN)):
        fields = _blocks(_text(rootfs, folder / "desc"))
        if {"%NAME%", "%VERSION%"} <= fields.keys():
            yield Package(
                manager="pacman",
                name=fields["%NAME%"],
                version=fields["%VERSION%"],
                arch=fields.get("%ARCH%", ""),
                licence=_note(fields.get("%LICENSE%", "")),
                source=_note(fields.get("%BASE%", "")),
                vendor=_note(fields.get("%PACKAGER%", "")),
            )


def _blocks(text: str) -> dict[str, str]:
    """The values of a file of blocks, each a `%NAME%` and lines; several are joined by commas."""
    lines = (block.strip().split("\n") for block in text.split("\n\n"))
    return {name: ", ".join(values) for name, *values in lines if values}


def _rpm(rootfs: Path) -> Iterator[Package]:
    for path in RPM:
        if (file := inside(rootfs, path)).is_file():
            yield from filter(None, map(_rpm_package, rpm_database.headers(file)))
            return


def _rpm_package(tags: dict[Tag, str]) -> Package | None:
    if not {Tag.NAME, Tag.VERSION} <= tags.keys():
        return None
    return Package(
        manager="rpm",
        name=tags[Tag.NAME],
        version="-".join(filter(None, (tags[Tag.VERSION], tags.get(Tag.RELEASE, "")))),
        arch=tags.get(Tag.ARCH, ""),
        epoch=tags.get(Tag.EPOCH, ""),
        licence=_note(tags.get(Tag.LICENCE, "")),
        source=_note(tags.get(Tag.SOURCE, "")),
        vendor=_note(tags.get(Tag.VENDOR, "")),
    )


class _AniseRecord(msgspec.Struct):
    """What anise's `DefaultPackage` has that is of interest here."""

    name: str
    version: str
    category: str
    repository: str = ""


def _anise(rootfs: Path) -> Iterator[Package]:
    for path in ANISE:
        if not (file := inside(rootfs, path)).is_file():
            continue
        try:
            records = boltdb.values(file, b"DefaultPackage")
        except boltdb.Damaged as error:
            raise BuildFailed(f"/{path}: {error}") from error
        for record in records:
            with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                fields = msgspec.structs.asdict(msgspec.json.decode(record, type=_AniseRecord))
                yield Package(manager="anise", **fields)


_MANAGERS: dict[str, Callable[[Path], Iterator[Package]]] = {
    "portage": _portage,
    "dpkg": _dpkg,
    "apk": _apk,
    "pacman": _pacman,
    "rpm": _rpm,
    "anise": _anise,
}


def _text(rootfs: Path, file: Path) -> str:
    """The first TEXT_MAX characters of a file that may be missing, or a link out of the root
    filesystem."""
    real = inside(rootfs, str(file.relative_to(rootfs)))
    if not real.is_file():
        return ""
    with real.open(errors="replace") as opened:
        return opened.read(TEXT_MAX)
