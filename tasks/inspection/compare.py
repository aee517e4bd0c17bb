"""Compares two stages by their inventories: files, byte by byte, and installed packages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tasks.artifacts.packages import Package
from tasks.inspection.inventory import Entry, Inventory


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """A file in both that differs; `what` are some of `kind`, `mode`, `owner`, `size`, `time`,
    `content` and `xattrs`."""

    path: str
    what: tuple[str, ...]
    size_before: int
    size_after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgraded:
    """A package in both with different versions."""

    manager: str
    name: str
    before: tuple[str, ...]
    after: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The changes from one tarball to another."""

    files_added: tuple[str, ...]
    files_removed: tuple[str, ...]
    files_changed: tuple[Changed, ...]
    packages_added: tuple[Package, ...]
    packages_removed: tuple[Package, ...]
    packages_changed: tuple[Upgraded, ...]
    size_before: int
    size_after: int
    unpacked_before: int
    unpacked_after: int

    @property
    def is_empty(self) -> bool:
        return not any((self.files_added, self.files_removed, self.files_changed))


def difference(before: Inventory, after: Inventory, *, times: bool = True) -> Difference:
    """The changes from `before` to `after`; modification times are compared only with `times`."""
    olds, news = _by_name(before.packages), _by_name(after.packages)
    return Difference(
        files_added=tuple(sorted(after.files.keys() - before.files.keys())),
        files_removed=tuple(sorted(before.files.keys() - after.files.keys())),
        files_changed=tuple(_changes(before.files, after.files, times=times)),
        packages_added=tuple(p for p in after.packages if _key(p) not in olds),
        packages_removed=tuple(p for p in before.packages if _key(p) not in news),
        packages_changed=tuple(
            Upgraded(manager=key[0], name=key[1], before=olds[key], after=news[key])
            for key in sorted(olds.keys() & news.keys())
            if olds[key] != news[key]
        ),
        size_before=before.size_bytes,
        size_after=after.size_bytes,
        unpacked_before=before.unpacked_bytes,
        unpacked_after=after.unpacked_bytes,
    )


def _key(package: Package) -> tuple[str, str]:
    return package.manager, package.full_name


def _by_name(packages: tuple[Package, ...]) -> dict[tuple[str, str], tuple[str, ...]]:
    """The versions of each package; one can be installed in several slots or architectures."""
    found: dict[tuple[str, str], list[str]] = {}
    for package in packages:
        found.setdefault(_key(package), []).append(package.version)
    return {key: tuple(versions) for key, versions in found.items()}


def _changes(
    before: dict[str, Entry], after: dict[str, Entry], *, times: bool
) -> Iterator[Changed]:
    for path in sorted(before.keys() & after.keys()):
        old, new = before[path], after[path]
        if old != new and (what := tuple(_differing(old, new, times=times))):
            yield Changed(path=path, what=what, size_before=old.size, size_after=new.size)


def _differing(old: Entry, new: Entry, *, times: bool) -> Iterator[str]:
    """What differs, by the names that `stagefarm diff` prints."""
    pairs = {
        "kind": (old.kind, new.kind),
        "mode": (old.mode, new.mode),
        "owner": ((old.uid, old.gid), (new.uid, new.gid)),
        "size": (old.size, new.size),
        "time": (old.mtime if times else None, new.mtime if times else None),
        "content": (old.content, new.content),
        "xattrs": (old.xattrs, new.xattrs),
    }
    return (name for name, (one, other) in pairs.items() if one != other)
