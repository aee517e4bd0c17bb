"""Which files of a stage are kept as texts for checks, and how much of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A group of files by patterns, where `*` stays within one folder; the largest that is kept,
    and how much of all together. Groups have limits of their own, so that a flood of one kind
    never hides the other."""

    patterns: tuple[str, ...]
    file_bytes: int
    total_bytes: int


SETTINGS = Wanted(
    patterns=(
        *("/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow"),
        *("/etc/passwd-", "/etc/group-", "/etc/shadow-", "/etc/gshadow-"),
        *("/etc/ld.so.conf", "/etc/ld.so.conf.d/*", "/etc/ld-musl-*.path"),
        *("/etc/machine-id", "/var/lib/dbus/machine-id", "/etc/hostname", "/etc/hosts"),
        *("/etc/resolv.conf", "/etc/nsswitch.conf"),
        *("/etc/os-release", "/usr/lib/os-release", "/etc/shells", "/etc/debian_version"),
        *("/etc/sudoers", "/etc/sudoers.d/*", "/etc/doas.conf"),
    ),
    file_bytes=1 << 20,
    total_bytes=16 << 20,
)
HISTORIES = Wanted(
    patterns=("/root/.*history", "/home/*/.*history", "/root/.lesshst", "/home/*/.lesshst"),
    file_bytes=64 << 10,
    total_bytes=1 << 20,
)
ADVISORIES = Wanted(
    patterns=(
        "/var/db/repos/*/metadata/glsa/glsa-*.xml",
        "/usr/portage/metadata/glsa/glsa-*.xml",
        "/var/lib/debsecan/*",
    ),
    file_bytes=8 << 20,
    total_bytes=64 << 20,
)
GROUPS = (SETTINGS, HISTORIES, ADVISORIES)


@dataclass(slots=True)
class Texts:
    """Says which files to keep, as long as their group has room."""

    groups: Sequence[Wanted] = GROUPS
    _left: dict[Wanted, int] = field(init=False)

    def __post_init__(self) -> None:
        self._left = {group: group.total_bytes for group in self.groups}

    def group_of(self, path: str) -> Wanted | None:
        """The group whose patterns match `path`."""
        if not path.startswith(_BEGINNINGS):
            return None
        return next((group for group in self.groups if _matcher(group).fullmatch(path)), None)

    def has_room(self, group: Wanted, size: int) -> bool:
        """Whether a file of this size is kept; if so, its room is taken."""
        if size > min(group.file_bytes, self._left[group]):
            return False
        self._left[group] -= size
        return True


def _matcher(group: Wanted) -> re.Pattern[str]:
    return _MATCHERS[group]


def _expression(pattern: str) -> str:
    return "[^/]*".join(re.escape(part) for part in pattern.split("*"))


_MATCHERS = {group: re.compile("|".join(map(_expression, group.patterns))) for group in GROUPS}
_BEGINNINGS = tuple({pattern[:4] for group in GROUPS for pattern in group.patterns})
