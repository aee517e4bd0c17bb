"""Lists the packages installed in a root filesystem, from the databases in it.

Reads Portage, dpkg, apk, rpm's SQLite database (rpm 4.16 and newer) and anise's BoltDB, without any
program of the distribution, and without following links out of the root filesystem.
"""

from __future__ import annotations

import re
import sqlite3
import struct
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tasks.artifacts import boltdb
from tasks.errors import BuildFailed
from tasks.host.chroot_paths import inside

PORTAGE = "var/db/pkg"
DPKG = ("var/lib/dpkg/status", "var/lib/dpkg/status.d")
APK = ("lib/apk/db/installed", "usr/lib/apk/db/installed")
RPM = ("usr/lib/sysimage/rpm/rpmdb.sqlite", "var/lib/rpm/rpmdb.sqlite")
ANISE = ("var/cache/anise/anise.db", "var/cache/luet/luet.db")
DATABASES = (PORTAGE, *DPKG, *APK, *RPM, *ANISE)
"""Paths of the databases, relative to the root."""


TEXT_MAX = 64 << 20
"""Most characters of a database file that are read."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Package:
    """One installed package; `slot` is Portage's, `arch` where the manager has one. `category` and
    `repository` are anise's; Portage's names begin with their category."""

    manager: str
    name: str
    version: str
    arch: str = ""
    slot: str = ""
    category: str = ""
    repository: str = ""

    @property
    def full_name(self) -> str:
        return f"{self.category}/{self.name}" if self.category else self.name


def installed(rootfs: Path, note: Callable[[str], None] = lambda text: None) -> list[Package]:
    """All packages of all managers, sorted. Damaged entries are left out; `note` is called with the
    error of a database that cannot be read."""
    found: set[Package] = set()
    for packages in (_portage, _dpkg, _apk, _rpm, _anise):
        try:
            found.update(packages(rootfs))
        except (OSError, BuildFailed) as error:
            note(str(error))
    return sorted(found)


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
            )


def _apk(rootfs: Path) -> Iterator[Package]:
    for path in APK:
        for fields in _paragraphs(_text(rootfs, inside(rootfs, path)), ":"):
            if {"P", "V"} <= fields.keys():
                arch = fields.get("A", "")
                yield Package(manager="apk", name=fields["P"], version=fields["V"], arch=arch)


def _paragraphs(text: str, separator: str) -> Iterator[dict[str, str]]:
    """The blocks of a file of `name: value` lines, the first value of each name."""
    for block in text.split("\n\n"):
        fields: dict[str, str] = {}
        for line in block.splitlines():
            name, found, value = line.partition(separator)
            if found and not line[0].isspace():
                fields.setdefault(name, value)
        yield fields


def _rpm(rootfs: Path) -> Iterator[Package]:
    for path in RPM:
        if (file := inside(rootfs, path)).is_file():
            yield from _rpm_packages(file)
            return


def _rpm_packages(file: Path) -> Iterator[Package]:
    try:
        with closing(
            sqlite3.connect(f"{file.absolute().as_uri()}?immutable=1", uri=True)
        ) as database:
            rows = database.execute(_RPM_QUERY).fetchall() if _has_table(database) else []
    except sqlite3.Error:
        return
    for (blob,) in rows:
        tags = _rpm_tags(blob)
        if {_NAME, _VERSION_TAG} <= tags.keys():
            version = "-".join(filter(None, (tags[_VERSION_TAG], tags.get(_RELEASE, ""))))
            arch = tags.get(_ARCH, "")
            yield Package(manager="rpm", name=tags[_NAME], version=version, arch=arch)


def _has_table(database: sqlite3.Connection) -> bool:
    """Whether it is a table: a view of that name could return endless rows."""
    query = "select 1 from sqlite_master where name = 'Packages' and type = 'table'"
    return database.execute(query).fetchone() is not None


_RPM_QUERY = "select blob from Packages where typeof(blob) = 'blob'"
_NAME, _VERSION_TAG, _RELEASE, _ARCH = 1000, 1001, 1002, 1022
_STRING = 6


def _rpm_tags(blob: bytes) -> dict[int, str]:
    """The strings of a package header: two counts, then an index of (tag, type, offset, count), all
    big-endian, then the values. rpm's docs/manual/format_header.md."""
    tags: dict[int, str] = {}
    try:
        entries, _ = struct.unpack_from(">II", blob)
        values = 8 + 16 * entries
        for number in range(min(entries, len(blob) // 16)):
            tag, kind, offset, _ = struct.unpack_from(">IIII", blob, 8 + 16 * number)
            if kind == _STRING and tag in (_NAME, _VERSION_TAG, _RELEASE, _ARCH):
                end = blob.index(b"\0", values + offset)
                tags[tag] = blob[values + offset : end].decode(errors="replace")
    except (struct.error, ValueError):
        return {}
    return tags


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
                if all(text.isprintable() for text in fields.values()):
                    yield Package(manager="anise", **fields)


def _text(rootfs: Path, file: Path) -> str:
    """The first TEXT_MAX characters of a file that may be missing, or a link out of the root
    filesystem."""
    real = inside(rootfs, str(file.relative_to(rootfs)))
    if not real.is_file():
        return ""
    with real.open(errors="replace") as opened:
        return opened.read(TEXT_MAX)
