"""Inventories made by hand, for tests of checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.artifacts.packages import Package
from tasks.inspection.inventory import Entry, Inventory, Kind

PASSWD = b"root:x:0:0::/root:/bin/sh\ndaemon:x:1:1::/:/bin/false\n"
GROUP = b"root:x:0:\ndaemon:x:1:\n"


def entry(kind: Kind = Kind.FILE, **values: Any) -> Entry:
    given = {"mode": 0o644, "uid": 0, "gid": 0, "size": 1, "mtime": 0.0, **values}
    return Entry(kind=kind, **given)


def folder(**values: Any) -> Entry:
    return entry(Kind.FOLDER, **{"mode": 0o755, "size": 0, **values})


def link(target: str) -> Entry:
    return entry(Kind.LINK, content=target, mode=0o777)


def inventory(
    files: Mapping[str, Entry] | None = None,
    *,
    texts: Mapping[str, bytes] | None = None,
    packages: tuple[Package, ...] = (),
    size_bytes: int = 1000,
    **more: Any,
) -> Inventory:
    """Files that are named only in `texts`, `programs` or `scripts` are there too."""
    kept = {"/etc/passwd": PASSWD, "/etc/group": GROUP, **(texts or {})}
    named = {
        path: entry(mode=0o755) for key in ("programs", "scripts") for path in more.get(key, ())
    }
    return Inventory(
        name="stage.tar",
        sha256="0" * 64,
        size_bytes=size_bytes,
        files={**{path: entry() for path in kept}, **named, **(files or {})},
        packages=packages,
        texts=dict(kept),
        **more,
    )
