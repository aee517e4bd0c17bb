"""The folder of a site: a page is written only if what it shows has changed.

Pages that are made together are a group. Its names are in the database before a page of it is
written, and the digest of what it shows is there only after its pages are on the disk: what a
killed report left half done is made again, or removed. Pages that are not made any more are
removed, and nothing else is.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.report.database import Database, opened
from tasks.errors import BadInput, StagefarmError, of_system
from tasks.host.files import make_folder, partial_of, sync_file_system
from tasks.host.locks import exclusive
from tasks.model import decode, encode

OWN = ".report"
DATABASE = f"{OWN}/site.sqlite"
GONE = "gone"
"""The digest of a group whose pages have to be removed."""

WRITE_GROUPS, WRITE_BYTES = 500, 16 << 20
"""So much is made, then written to the disk together."""

NAMES_AT_ONCE = 200

_PAGE = re.compile(r"([a-z]+/)?[A-Za-z0-9][A-Za-z0-9._+~-]*")

Pages = Mapping[str, str]
"""The content of pages, by their paths in the site."""


@dataclass(frozen=True, slots=True)
class _Made:
    """The pages of a group, not written yet, and those that it had before."""

    name: str
    digest: str
    pages: dict[str, bytes]
    before: frozenset[str]

    def names(self, *, also_before: bool) -> str:
        names = {*self.pages, *(self.before if also_before else ())}
        return encode(sorted(names)).decode()


@dataclass(slots=True)
class SiteFolder:
    """`written` and `removed` count pages."""

    root: Path
    database: Database
    written: int = 0
    written_bytes: int = 0
    removed: int = 0
    _put: set[str] = field(default_factory=set)
    _made: list[_Made] = field(default_factory=list)
    _made_bytes: int = 0

    def put(self, name: str, shows: object, make: Callable[[], Pages]) -> None:
        """Make the pages of group `name`, unless they show the same `shows` already."""
        digest = hashlib.sha256(repr(shows).encode("utf-8", "backslashreplace")).hexdigest()
        known, pages = self._group(name)
        self._put.add(name)
        if known == digest and all(map(self._is_there, pages)):
            return
        made = {path: text.encode("utf-8", "backslashreplace") for path, text in make().items()}
        for path in made:
            if not _PAGE.fullmatch(path):
                raise StagefarmError(f"{path!r} cannot be a page")
        self._made.append(_Made(name, digest, made, pages))
        self._made_bytes += sum(map(len, made.values()))
        if len(self._made) >= WRITE_GROUPS or self._made_bytes >= WRITE_BYTES:
            self.write()

    def write(self) -> None:
        """Write the pages that were made."""
        made, self._made, self._made_bytes = self._made, [], 0
        if not made:
            return
        with self.database.changing():
            for one in made:
                self._note(one.name, "", one.names(also_before=True))
        for one in made:
            for path, content in one.pages.items():
                self._write(path, content)
            self._remove(one.before - set(one.pages))
        sync_file_system(self.root)
        with self.database.changing():
            for one in made:
                self._note(one.name, one.digest, one.names(also_before=False))

    def outdated(self, prefix: str) -> Iterator[list[str]]:
        """The names of groups that have to be made again, some at a time."""
        last = prefix
        while names := [
            str(name)
            for (name,) in self.database.rows(
                "SELECT name FROM groups WHERE digest = '' AND name > ? AND name < ?"
                " ORDER BY name LIMIT ?",
                *(last, f"{prefix}\U0010ffff", NAMES_AT_ONCE),
            )
        ]:
            yield names
            last = names[-1]

    def look_for_pages(self, prefix: str) -> None:
        """Have the groups made again of which a page is missing."""
        found = self.database.rows(
            "SELECT name, pages FROM groups WHERE digest NOT IN ('', ?) AND name > ? AND name < ?",
            *(GONE, prefix, f"{prefix}\U0010ffff"),
        )
        for name, pages in found:
            if not all(map(self._is_there, _names(pages))):
                make_again(self.database, name)

    def remove_others(self) -> None:
        """Remove the pages of groups that are gone, and of those that were not put, unless they are
        made only where they are marked."""
        self.write()
        gone = self.database.rows("SELECT name FROM groups WHERE digest = ?", GONE)
        known = self.database.rows("SELECT name FROM groups WHERE marked = 0")
        names = [name for (name,) in [*gone, *known] if name not in self._put]
        for name in names:
            self._remove(self._group(name)[1])
        with self.database.changing():
            for name in names:
                self.database.do("DELETE FROM groups WHERE name = ?", name)

    def _group(self, name: str) -> tuple[str, frozenset[str]]:
        """The digest of a group, and its pages."""
        for digest, pages in self.database.rows(
            "SELECT digest, pages FROM groups WHERE name = ?", name
        ):
            return str(digest), _names(pages)
        return "", frozenset()

    def _note(self, name: str, digest: str, pages: str) -> None:
        self.database.do(
            "INSERT INTO groups (name, digest, pages) VALUES (?, ?, ?) ON CONFLICT (name)"
            " DO UPDATE SET digest = excluded.digest, pages = excluded.pages",
            *(name, digest, pages),
        )

    def _is_there(self, path: str) -> bool:
        return (self.root / path).is_file()

    def _write(self, path: str, content: bytes) -> None:
        target = self.root / path
        target.parent.mkdir(exist_ok=True)
        unfinished = partial_of(target)
        unfinished.write_bytes(content)
        unfinished.rename(target)
        self.written += 1
        self.written_bytes += len(content)

    def _remove(self, pages: Iterable[str]) -> None:
        for path in pages:
            partial_of(self.root / path).unlink(missing_ok=True)
            (self.root / path).unlink(missing_ok=True)
            self.removed += 1


def make_again(database: Database, name: str) -> None:
    """Mark the pages of a group: they have to be made, again or for the first time."""
    _mark(database, name, "")


def make_gone(database: Database, name: str) -> None:
    """Mark the pages of a group: they have to be removed."""
    _mark(database, name, GONE)


def _mark(database: Database, name: str, digest: str) -> None:
    database.do(
        "INSERT INTO groups (name, digest, marked) VALUES (?, ?, 1)"
        " ON CONFLICT (name) DO UPDATE SET digest = excluded.digest",
        *(name, digest),
    )


@contextmanager
def site_folder(root: Path, look: str) -> Iterator[SiteFolder]:
    """Yields the folder at `root`, which is created; no other process writes to it meanwhile.
    `look` stands for all that pages have in common, such as templates: under another one all pages
    are made again. `BadInput` if there is something else in the folder."""
    make_folder(root)
    if not (root / OWN).is_dir() and any(root.iterdir()):
        raise BadInput(f"{root} is not empty, and no report", "name an empty folder")
    try:
        with exclusive(make_folder(root / OWN) / "lock"), opened(root / DATABASE) as database:
            if database.noted("look") != look:
                with database.changing():
                    database.do("UPDATE groups SET digest = '' WHERE digest != ?", GONE)
                    database.note("look", look)
            yield SiteFolder(root, database)
    except OSError as error:
        raise of_system(error) from error
    except sqlite3.Error as error:
        raise StagefarmError(
            f"{root / DATABASE}: {error}",
            "if that is damaged, remove the whole folder of the report",
        ) from error


def _names(pages: str) -> frozenset[str]:
    """The pages of a group; what could not be one is left out: it is never removed."""
    return frozenset(page for page in decode(pages, list[str]) if _PAGE.fullmatch(page))
