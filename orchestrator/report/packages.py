"""Which packages changed from one published build of a stage to the next."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import msgspec

from orchestrator.release.catalog import File, Stage
from tasks.artifacts.packages import Package
from tasks.inspection.compare import difference
from tasks.inspection.inventory import Inventory

ENDING = ".packages.json"
LIMIT_BYTES = 16 << 20
PAIRS_MAX, ROWS_MAX = 5, 200

Find = Callable[[File, int], bytes | None]
"""The content of a file of the mirror, up to a size; None if it is not there."""


class _File(msgspec.Struct):
    packages: tuple[Package, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageChange:
    """A package that is new (`before` is empty), gone (`after` is empty), or changed."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What changed from the build `before` to the build `after`; `left_out` are so many more."""

    before: str
    after: str
    rows: tuple[PackageChange, ...]
    left_out: int


def changes_in(offered: Sequence[Stage], find: Find) -> Iterator[Changes]:
    """The changes between the newest of `offered`, newest first, where both lists are at hand."""
    newest = offered[: PAIRS_MAX + 1]
    lists = [_packages(stage, find) for stage in newest]
    for index, (after, before) in enumerate(pairwise(newest)):
        new, old = lists[index], lists[index + 1]
        if new is not None and old is not None:
            rows = sorted(_changes(old, new), key=lambda row: row.name)
            yield Changes(
                before=before.build,
                after=after.build,
                rows=tuple(rows[:ROWS_MAX]),
                left_out=max(0, len(rows) - ROWS_MAX),
            )


def _packages(stage: Stage, find: Find) -> tuple[Package, ...] | None:
    name = f"{stage.tarball.name}{ENDING}"
    file = next((one for one in stage.sidecars if one.name == name), None)
    content = find(file, LIMIT_BYTES) if file else None
    if content is None:
        return None
    try:
        return msgspec.json.decode(content, type=_File).packages
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _changes(old: tuple[Package, ...], new: tuple[Package, ...]) -> Iterator[PackageChange]:
    found = difference(_listing(old), _listing(new))
    for one in found.packages_added:
        yield PackageChange(name=one.full_name, before="", after=one.version)
    for one in found.packages_removed:
        yield PackageChange(name=one.full_name, before=one.version, after="")
    for pair in found.packages_changed:
        before, after = " ".join(pair.before), " ".join(pair.after)
        yield PackageChange(name=pair.name, before=before, after=after)


def _listing(packages: tuple[Package, ...]) -> Inventory:
    return Inventory(name="", sha256="", size_bytes=0, files={}, packages=packages)
