"""Finds paths in an inventory as programs would that run in the stage: links are followed, and
nothing outside is looked at."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from tasks.inspection.inventory import Entry, Inventory, Kind

LINKS_MAX = 40
"""Links that Linux follows before it gives up (path_resolution(7))."""
PATH_MAX = 4095
"""Bytes of a link's target that Linux takes."""
STEPS_MAX = 4096
"""Parts of paths that are looked at for one path, links included."""
ALL_STEPS_MAX = 30_000_000
"""And for all paths: a stage needs some hundred thousand."""
_FOLDER = Entry(kind=Kind.FOLDER, mode=0o755, uid=0, gid=0, size=0, mtime=0)
"""A folder that the tarball does not list, but has files in."""


class End(StrEnum):
    """How the search for a path ended."""

    FOUND = "found"
    MISSING = "missing"
    LOOP = "loop"
    TOO_LONG = "too long"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a path leads to: `path` has no links; where it is missing, `path` is the first part that
    is. `climbed`: it is a link, whose own target climbs above the root, where Linux would stay."""

    end: End
    path: str
    climbed: bool = False


@dataclass(slots=True)
class Tree:
    """The paths of one inventory."""

    inventory: Inventory
    folders: dict[str, set[str]] = field(init=False)
    """The names in each folder."""
    _places: dict[str, Place] = field(init=False, default_factory=dict)
    _steps: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.folders = {"/": set()}
        for path in self.inventory.files:
            self._add(path)
        for path, entry in self.inventory.files.items():
            if entry.kind is Kind.FOLDER:
                self.folders.setdefault(path, set())

    def _add(self, path: str) -> None:
        """Put `path` into its folder, and that into its own if it is new."""
        while path != "/":
            folder, name = parent_of(path), path.rpartition("/")[2]
            known = folder in self.folders
            self.folders.setdefault(folder, set()).add(name)
            if known:
                return
            path = folder

    def entry(self, path: str) -> Entry | None:
        """What is at `path` itself: it may be a link. For a hard link it is the file."""
        found = self.inventory.files.get(path)
        if found and found.kind is Kind.HARD_LINK:
            found = self.inventory.files.get(found.content, found)
        return found or (_FOLDER if path in self.folders else None)

    def find(self, path: str) -> Place:
        """What the absolute `path` leads to, as for a program that opens it."""
        if (known := self._places.get(path)) is None:
            known = self._places[path] = self._walk(path)
        return known

    def file_at(self, path: str) -> str:
        """The path without links, or the first name of a file with several, if there is a file;
        else empty."""
        place = self.find(path)
        found = self.inventory.files.get(place.path) if place.end is End.FOUND else None
        first = found.content if found and found.kind is Kind.HARD_LINK else place.path
        entry = self.inventory.files.get(first) if found else None
        return first if entry and entry.kind is Kind.FILE else ""

    def is_folder(self, path: str) -> bool:
        place = self.find(path)
        return place.end is End.FOUND and place.path in self.folders

    def _walk(self, path: str) -> Place:
        here, climbed, links = "", False, 0
        parts = _parts_of(path)
        own = 0  # how many of `parts`, from the first, are of the target of `path` itself
        for _ in range(min(STEPS_MAX, ALL_STEPS_MAX - self._steps)):
            self._steps += 1
            if not parts:
                return Place(end=End.FOUND, path=here or "/", climbed=climbed)
            is_own, own = len(parts) <= own, min(own, len(parts) - 1)
            part = parts.pop()
            if part == ".":
                continue
            if part == "..":
                climbed = climbed or (is_own and not here)
                here = here.rpartition("/")[0]
                continue
            here = f"{here}/{part}"
            entry = self.entry(here)
            if entry is None:
                return Place(end=End.MISSING, path=here, climbed=climbed)
            if entry.kind is Kind.LINK:
                links += 1
                if links > LINKS_MAX:
                    return Place(end=End.LOOP, path=here, climbed=climbed)
                if not entry.content or len(entry.content) > PATH_MAX:
                    return Place(end=End.TOO_LONG, path=here, climbed=climbed)
                targets = _parts_of(entry.content)
                own = own if parts or here != path else len(targets)
                parts += targets
                here = "" if entry.content.startswith("/") else here.rpartition("/")[0]
            elif parts and here not in self.folders:
                return Place(end=End.MISSING, path=f"{here}/{parts[-1]}", climbed=climbed)
        return Place(end=End.TOO_LONG, path=here, climbed=climbed)


def parent_of(path: str) -> str:
    return path.rpartition("/")[0] or "/"


def _parts_of(path: str) -> list[str]:
    """The parts of `path`, the first one last. It ends with `.` if it asks for a folder: `etc/`."""
    parts = [part for part in path.split("/") if part]
    return [*(["."] if path.endswith("/") else []), *reversed(parts)]
