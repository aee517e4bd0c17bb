"""What the os-release file of a root filesystem says: os-release(5)."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import BuildFailed
from tasks.host.chroot_paths import inside

FILES = ("etc/os-release", "usr/lib/os-release")
_READ_MAX = 64 << 10
_NAME_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingSystem:
    """`id` and `version` are in lower case, such as `debian` and `12`, and empty where the file is
    missing or not as it should be; `name` is for people."""

    id: str = ""
    version: str = ""
    name: str = ""

    @property
    def distro(self) -> str:
        """As in package URLs: `debian-12`."""
        return "-".join(filter(None, (self.id, self.version)))


def read(rootfs: Path) -> OperatingSystem:
    """What the first of the files says; nothing where it cannot be read."""
    with suppress(OSError, BuildFailed):
        for file in (inside(rootfs, path) for path in FILES):
            if file.is_file():
                with file.open(errors="replace") as opened:
                    return _parsed(opened.read(_READ_MAX))
    return OperatingSystem()


def _parsed(text: str) -> OperatingSystem:
    found = dict(_values(text))
    return OperatingSystem(
        id=_word(found.get("ID", "")),
        version=_word(found.get("VERSION_ID", "")),
        name=_name(found.get("PRETTY_NAME") or found.get("NAME") or ""),
    )


def _values(text: str) -> Iterator[tuple[str, str]]:
    """Values are quoted as in a shell; a line that is not is left out."""
    for line in text.splitlines():
        name, found, value = line.partition("=")
        try:
            words = shlex.split(value)
        except ValueError:
            continue
        if found and len(words) == 1:
            yield name, words[0]


def _word(text: str) -> str:
    return text if re.fullmatch(r"[a-z0-9._-]{1,100}", text) else ""


def _name(text: str) -> str:
    return text if text.isprintable() and len(text) <= _NAME_MAX else ""
