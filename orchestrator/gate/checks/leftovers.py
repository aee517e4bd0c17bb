"""What a build leaves behind: settings and secrets of the build host, caches, histories."""

from __future__ import annotations

import re
from collections.abc import Iterator

from orchestrator.gate.checks.faults import Fault
from orchestrator.gate.checks.subject import Stage
from tasks.inspection.inventory import Kind, Mark


def _matcher(*patterns: str) -> re.Pattern[str]:
    """Matches any of the patterns, in which `*` stands for text without `/`."""
    parts = ("[^/]*".join(map(re.escape, pattern.split("*"))) for pattern in patterns)
    return re.compile("|".join(parts))


def resolv_conf(stage: Stage) -> Iterator[Fault]:
    path = "/etc/resolv.conf"
    if _is_file(stage, path) and any(not line.startswith(";") for line in stage.lines(path)):
        first = next(stage.lines(path))
        yield Fault(path=path, value="not empty", message=f"has settings of the build: {first}")


MACHINE_IDS = ("/etc/machine-id", "/var/lib/dbus/machine-id")


def machine_id(stage: Stage) -> Iterator[Fault]:
    """machine-id(5): 32 hexadecimal digits; empty or `uninitialized` in an image."""
    for path in MACHINE_IDS:
        if _is_file(stage, path) and re.fullmatch("[0-9a-f]{32}", stage.text(path).strip()):
            yield Fault(path=path, value="set", message="all machines would share this machine ID")


HOST_KEYS = _matcher(
    "/etc/ssh/ssh_host_key", "/etc/ssh/ssh_host_*_key", "/etc/dropbear/dropbear_*_host_key"
)


def host_keys(stage: Stage) -> Iterator[Fault]:
    for path, entry in stage.inventory.files.items():
        if entry.kind is Kind.FILE and HOST_KEYS.fullmatch(path):
            yield Fault(path=path, value="present", message="all machines would share this key")


def private_keys(stage: Stage) -> Iterator[Fault]:
    for path, marks in stage.inventory.marks.items():
        if Mark.PRIVATE_KEY in marks and not HOST_KEYS.fullmatch(path):
            yield Fault(path=path, value="present", message="has a private key")


HISTORIES = _matcher(".*_history", ".histfile", ".lesshst", ".viminfo", ".wget-hsts", ".history")


def histories(stage: Stage) -> Iterator[Fault]:
    for path, entry in stage.inventory.files.items():
        if entry.kind is Kind.FILE and entry.size and HISTORIES.fullmatch(path.rpartition("/")[2]):
            message = "tells what was done in the stage"
            yield Fault(path=path, value="not empty", message=message)


CACHES = re.compile(
    "(/var/cache/apt/archives(?=/[^/]*[.]deb$)|/var/cache/apt(?=/[^/]*[.]bin$)|/var/lib/apt/lists"
    "|/var/cache/(?:distfiles|binpkgs|edb)|/usr/portage/(?:distfiles|packages)|/var/tmp/portage"
    "|/var/cache/apk|/etc/apk/cache|/var/cache/(?:dnf|yum|libdnf5|zypp|pacman/pkg|xbps)"
    "|/var/cache/(?:anise|luet)/packages|/root/[.]cache|/home/[^/]+/[.]cache)/.*"
)
"""Folders of files that can be downloaded or made again; the first group is the folder."""


def caches(stage: Stage) -> Iterator[Fault]:
    found: dict[str, list[int]] = {}
    for path, entry in stage.inventory.files.items():
        if entry.kind is Kind.FILE and entry.size and (match := CACHES.fullmatch(path)):
            found.setdefault(match[1], []).append(entry.size)
    for folder, sizes in found.items():
        message = f"has {len(sizes)} files, {sum(sizes) / 1e6:.1f} MB, of a cache"
        yield Fault(path=folder, value="not empty", message=message)


PASSWORDS = {"/etc/shadow": None, "/etc/shadow-": None, "/etc/passwd": "x", "/etc/passwd-": "x"}
"""Files of accounts and their copies, and what stands for a password that is in another file."""


def passwords(stage: Stage) -> Iterator[Fault]:
    """Accounts that can be entered with a password, or without one. shadow(5): `*` and `!` are
    none; what follows `!` is locked. In passwd(5), `x` stands for what shadow has."""
    for path, elsewhere in PASSWORDS.items():
        for line in stage.text(path).splitlines():
            name, _, rest = line.partition(":")
            field, found, _ = rest.partition(":")
            if name and found and field != elsewhere and not field.startswith(("*", "!")):
                text = f"{name} has a password" if field else f"{name} needs no password"
                yield Fault(path=path, value=text, message=text)


def build_paths(stage: Stage) -> Iterator[Fault]:
    for path, marks in stage.inventory.marks.items():
        if Mark.BUILD_PATH in marks:
            yield Fault(path=path, value="present", message="names a folder of the build")


_BYTECODE = re.compile(r"(.*)/__pycache__/([^/]+?)\.[^/.]+(?:\.opt-[^/.]+)?\.pyc|(.*)\.pyc")


def stale_bytecode(stage: Stage) -> Iterator[Fault]:
    """Compiled files that Python compiles anew at each start, or never uses: they have the time and
    the size of another source (PEP 3147, PEP 552)."""
    for path, compiled in stage.inventory.compiled.items():
        if not (match := _BYTECODE.fullmatch(path)):
            continue
        source = f"{match[1]}/{match[2]}.py" if match[2] else f"{match[3]}.py"
        entry = stage.tree.entry(stage.tree.file_at(source))
        if entry is None:
            if match[2]:
                message = f"its source {source} is not in the stage"
                yield Fault(path=path, value="no source", message=message)
        elif (int(entry.mtime) & 0xFFFFFFFF, entry.size & 0xFFFFFFFF) != (
            compiled.source_mtime,
            compiled.source_size,
        ):
            message = f"was made from another {source}"
            yield Fault(path=path, value="another source", message=message)


def _is_file(stage: Stage, path: str) -> bool:
    """Whether the file itself is there, not a link to one."""
    entry = stage.inventory.files.get(path)
    return entry is not None and entry.kind in (Kind.FILE, Kind.HARD_LINK)
