"""The folder of a site: a page is written only if what it shows has changed.

`.report/index.json` has for each group of pages the digest of what they show, and their names. It
is written last. A file marks that it is behind the pages: after a crash all pages are made again.
Pages that are not made any more are removed, and nothing else is.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tasks.errors import BadInput, StagefarmError, of_system
from tasks.host.files import make_folder, partial_of, replaced, sync_file_system, write_all
from tasks.host.locks import exclusive
from tasks.model import decode, encode

OWN = ".report"
INDEX, UNFINISHED = f"{OWN}/index.json", f"{OWN}/unfinished"
_PAGE = re.compile(r"([a-z]+/)?[A-Za-z0-9][A-Za-z0-9._+~-]*")

Pages = Mapping[str, str]
"""The content of pages, by their paths in the site."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Pages that are made together, and the digest of what they show."""

    digest: str
    pages: tuple[str, ...]


@dataclass(slots=True)
class SiteFolder:
    """`look` stands for all that pages have in common, such as templates: other pages are made
    anew. `written` and `removed` count pages."""

    root: Path
    look: str
    groups: dict[str, Group]
    seen: set[str] = field(default_factory=set)
    written: int = 0
    written_bytes: int = 0
    removed: int = 0

    def put(self, name: str, shows: object, make: Callable[[], Pages]) -> None:
        """Make the pages of group `name`, unless they show the same `shows` already."""
        digest = hashlib.sha256(f"{self.look} {shows!r}".encode()).hexdigest()
        known = self.groups.get(name)
        self.seen.add(name)
        if known and known.digest == digest and all(map(self._is_there, known.pages)):
            return
        made = make()
        self.groups[name] = Group(digest="", pages=known.pages if known else ())
        for path, text in made.items():
            self._write(path, text.encode("utf-8", "backslashreplace"))
        self._remove(set(known.pages if known else ()) - set(made))
        self.groups[name] = Group(digest=digest, pages=tuple(made))

    def keep(self, prefix: str) -> None:
        """Leave the groups with this prefix as they are."""
        self.seen |= {name for name in self.groups if name.startswith(prefix)}

    def remove_others(self) -> None:
        """Remove the pages that were not made."""
        for name in self.groups.keys() - self.seen:
            self._remove(self.groups.pop(name).pages)

    def note(self) -> None:
        """Note what the pages show."""
        if self.written or self.removed:
            sync_file_system(self.root)
            _write_durably(self.root / INDEX, encode(self.groups))
            (self.root / UNFINISHED).unlink(missing_ok=True)

    def _begin(self) -> None:
        if not (self.written or self.removed):
            (self.root / UNFINISHED).touch()

    def _is_there(self, path: str) -> bool:
        return (self.root / path).is_file()

    def _write(self, path: str, content: bytes) -> None:
        if not _PAGE.fullmatch(path):
            raise StagefarmError(f"{path!r} cannot be a page")
        self._begin()
        target = self.root / path
        target.parent.mkdir(exist_ok=True)
        unfinished = partial_of(target)
        unfinished.write_bytes(content)
        unfinished.rename(target)
        self.written += 1
        self.written_bytes += len(content)

    def _remove(self, pages: Iterable[str]) -> None:
        for path in pages:
            if _PAGE.fullmatch(path):
                self._begin()
                (self.root / path).unlink(missing_ok=True)
                self.removed += 1


@contextmanager
def site_folder(root: Path, look: str) -> Iterator[SiteFolder]:
    """Yields the folder at `root`, which is created; no other process writes to it meanwhile.
    `BadInput` if there is something else."""
    make_folder(root)
    if not (root / OWN).is_dir() and any(root.iterdir()):
        raise BadInput(f"{root} is not empty, and no report", "name an empty folder")
    try:
        with exclusive(make_folder(root / OWN) / "lock"):
            folder = SiteFolder(root, look, _groups(root))
            try:
                yield folder
                folder.remove_others()
            finally:
                folder.note()
    except OSError as error:
        raise of_system(error) from error


def remember(root: Path, name: str, content: bytes) -> None:
    """Keep `content` for the next report."""
    file = root / OWN / name
    if not file.is_file() or file.read_bytes() != content:
        _write_durably(file, content)


def recall(root: Path, name: str) -> bytes | None:
    try:
        return (root / OWN / name).read_bytes()
    except FileNotFoundError:
        return None


def _groups(root: Path) -> dict[str, Group]:
    file = root / INDEX
    try:
        groups = decode(file.read_bytes(), dict[str, Group])
    except FileNotFoundError:
        return {}
    except StagefarmError as error:
        raise StagefarmError(f"{file}: {error}", "remove the whole folder of the report") from error
    if not (root / UNFINISHED).exists():
        return groups
    return {name: Group(digest="", pages=group.pages) for name, group in groups.items()}


def _write_durably(file: Path, content: bytes) -> None:
    with replaced(file) as fresh:
        write_all(fresh.fileno(), content)
