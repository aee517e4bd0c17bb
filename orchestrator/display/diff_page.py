"""A web page about a stage, in one file that people can send to each other: what differs from
another stage, and what the gate found.

Names come from tarballs, which are hostile input. The template escapes what it is given; what
shows nothing, or would change how other text is shown, becomes a visible escape; and the page's
Content-Security-Policy lets nothing run and nothing be fetched. Its size is limited: of long lists
it says how much is left out.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Generic, Protocol, TypeVar

from jinja2 import Environment
from markupsafe import Markup

from orchestrator.display.html import TEMPLATES, digest_of, environment_of, style_sheet
from orchestrator.display.terminal import size
from orchestrator.display.treemap import Box, Folder, Tile, folders, tiles
from tasks.inspection.compare import Difference, difference
from tasks.inspection.inventory import Entry, Inventory, Kind

ROWS_MAX = 500
"""Most rows of each list."""

_LAYOUTS = (("wide", Box(0, 0, 1200, 640)), ("tall", Box(0, 0, 420, 720)))
_LETTER, _LINE = 7.2, 15.0

Row = TypeVar("Row")


class ShownFinding(Protocol):
    """What a page tells of a finding of the gate."""

    @property
    def check(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def before(self) -> str: ...
    @property
    def after(self) -> str: ...
    @property
    def verdict(self) -> str: ...
    @property
    def message(self) -> str: ...
    @property
    def digest(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Listed(Generic[Row]):
    """The rows of a list that are shown, and how many there are."""

    rows: tuple[Row, ...]
    total: int

    @property
    def left_out(self) -> int:
        return self.total - len(self.rows)


@dataclass(frozen=True, slots=True)
class Total:
    """A line of the summary, in words."""

    what: str
    before: str
    after: str
    change: str


@dataclass(frozen=True, slots=True)
class PackageRow:
    sign: str
    name: str
    manager: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class FileRow:
    sign: str
    path: str
    before: Entry | None
    after: Entry | None
    what: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """A tile of the treemap as it is drawn. `kind` says how its size has changed: `same`, `grown`,
    `shrunk`, `new` or `gone`."""

    tile: Tile
    kind: str
    lines: tuple[str, ...]
    title: str


@dataclass(frozen=True, slots=True)
class Drawing:
    name: str
    box: Box
    shapes: tuple[Shape, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """All that the template shows."""

    title: str
    before: Inventory | None
    after: Inventory
    totals: tuple[Total, ...]
    findings: Listed[ShownFinding]
    waived: Listed[ShownFinding]
    packages: Listed[PackageRow]
    files: Listed[FileRow]
    rights: Listed[FileRow]
    folders: Listed[Folder]
    drawings: tuple[Drawing, ...]


def diff_page(
    before: Inventory | None,
    after: Inventory,
    *,
    times: bool = True,
    findings: Sequence[ShownFinding] = (),
    waived: Sequence[ShownFinding] = (),
    title: str = "",
) -> str:
    """The page about `after`, compared with `before`; for a first stage, with all its packages and
    unusual permissions. `times` is as in `difference`; `findings` and `waived` are the gate's."""
    old = before or after
    found = difference(old, after, times=times)
    root = folders(_sizes(old), _sizes(after))
    files = list(_files(old, after, found))
    page = Page(
        title=title
        or (f"{_last(old.name)} → {_last(after.name)}" if before else _last(after.name)),
        before=before,
        after=after,
        totals=tuple(_totals(old, after)),
        findings=_listed(findings),
        waived=_listed(waived),
        packages=_listed(_packages(found) if before else _all_packages(after)),
        files=_listed(files),
        rights=_listed(list(filter(_is_about_rights, files if before else _all_files(after)))),
        folders=_listed(_changed_folders(root)),
        drawings=tuple(Drawing(name, box, tuple(_shapes(root, box))) for name, box in _LAYOUTS),
    )
    style = style_sheet()
    return (
        _environment()
        .get_template("diff.html.j2")
        .render(
            page=page,
            style=Markup(style),  # noqa: S704 our own file, no input
            style_digest=digest_of(style),
        )
    )


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _listed(rows: Sequence[Row]) -> Listed[Row]:
    return Listed(tuple(islice(rows, ROWS_MAX)), len(rows))


def _totals(before: Inventory, after: Inventory) -> Iterable[Total]:
    sizes = (
        ("tarball", before.size_bytes, after.size_bytes),
        ("content", before.unpacked_bytes, after.unpacked_bytes),
    )
    for what, one, other in sizes:
        yield Total(what, size(one), size(other), _delta(one, other))
    counts = (
        ("files", len(before.files), len(after.files)),
        ("packages", len(before.packages), len(after.packages)),
    )
    for what, one, other in counts:
        change = f"{_sign(one, other)}{abs(other - one):,}"
        yield Total(what, f"{one:,}", f"{other:,}", change)
    yield Total("sha256", before.sha256[:16], after.sha256[:16], "")


def _sizes(inventory: Inventory) -> dict[str, int]:
    return {path: entry.size for path, entry in inventory.files.items() if entry.size}


def _packages(found: Difference) -> list[PackageRow]:
    changed = (
        PackageRow("~", one.name, one.manager, " ".join(one.before), " ".join(one.after))
        for one in found.packages_changed
    )
    gone = (PackageRow("−", p.full_name, p.manager, p.version, "") for p in found.packages_removed)
    new = (PackageRow("+", p.full_name, p.manager, "", p.version) for p in found.packages_added)
    return [*gone, *new, *changed]


def _all_packages(stage: Inventory) -> list[PackageRow]:
    return [PackageRow("", p.full_name, p.manager, "", p.version) for p in stage.packages]


def _all_files(stage: Inventory) -> list[FileRow]:
    return [FileRow("", path, None, entry, ()) for path, entry in sorted(stage.files.items())]


def _files(before: Inventory, after: Inventory, found: Difference) -> Iterable[FileRow]:
    yield from (FileRow("−", path, before.files[path], None, ()) for path in found.files_removed)
    yield from (FileRow("+", path, None, after.files[path], ()) for path in found.files_added)
    for one in found.files_changed:
        yield FileRow("~", one.path, before.files[one.path], after.files[one.path], one.what)


def _is_about_rights(row: FileRow) -> bool:
    """Whether permissions, owner or attributes differ, or a new file has unusual ones."""
    if row.before and row.after:
        return not {"mode", "owner", "xattrs", "kind"}.isdisjoint(row.what)
    return row.after is not None and _is_unusual(row.after)


def _is_unusual(entry: Entry) -> bool:
    is_open = entry.mode & stat.S_IWOTH and entry.kind is not Kind.LINK
    sticky = entry.kind is Kind.FOLDER and entry.mode & stat.S_ISVTX
    special = entry.mode & (stat.S_ISUID | stat.S_ISGID) or entry.kind in _SPECIAL
    return bool(special or (is_open and not sticky) or entry.xattrs)


_SPECIAL = (Kind.CHARACTER_DEVICE, Kind.BLOCK_DEVICE, Kind.FIFO)


# --- Folders --------------------------------------------------------------------------------------


def _changed_folders(root: Folder) -> list[Folder]:
    """All folders whose size differs, those that differ most first."""
    found, pending = [], [root]
    while pending:
        here = pending.pop()
        pending += here.inside.values()
        if here.before != here.after:
            found.append(here)
    return sorted(found, key=lambda one: (-abs(one.after - one.before), one.path))


def _shapes(root: Folder, box: Box) -> Iterable[Shape]:
    for tile in tiles(root, box):
        folder = tile.folder
        kind = _kind(folder)
        title = f"{folder.path}: {size(folder.after)} {_change(folder)}".rstrip()
        yield Shape(tile, kind, tuple(_labels(tile)), title)


def _kind(folder: Folder) -> str:
    if folder.before == folder.after:
        return "same"
    if not folder.before or not folder.after:
        return "gone" if folder.before else "new"
    return "grown" if folder.after > folder.before else "shrunk"


def _change(folder: Folder) -> str:
    change = size(abs(folder.after - folder.before))
    return {
        "same": "",
        "grown": f"▲ {change}",
        "shrunk": f"▼ {change}",
        "new": "new",
        "gone": f"gone, was {change}",
    }[_kind(folder)]


def _labels(tile: Tile) -> Iterable[str]:
    """The lines that fit on a tile."""
    letters = int((tile.box.width - 8) / _LETTER)
    lines = int((tile.box.height - 4) / _LINE)
    name, amount = _last(tile.folder.path), size(tile.folder.after)
    if letters < 3 or lines < 1:
        return
    if tile.is_divided or lines == 1:
        yield _cut(f"{name} {amount} {_change(tile.folder)}".rstrip(), letters)
        return
    yield _cut(name, letters)
    yield _cut(amount, letters)
    if lines > 2 and tile.folder.before != tile.folder.after:
        yield _cut(_change(tile.folder), letters)


def _cut(text: str, letters: int) -> str:
    return text if len(text) <= letters else f"{text[: letters - 1]}…"


# --- The template ---------------------------------------------------------------------------------


@cache
def _environment() -> Environment:
    filters = {
        "size": size,
        "delta": lambda folder: _delta(folder.before, folder.after),
        "rights": _rights,
    }
    return environment_of(TEMPLATES, filters)


def _delta(before: int, after: int) -> str:
    return f"{_sign(before, after)}{size(abs(after - before))}"


def _sign(before: int, after: int) -> str:
    return "+" if after > before else "−" if after < before else "±"


def _rights(entry: Entry | None) -> str:
    """`-rwsr-xr-x 0:0`, with what else it has."""
    if not entry:
        return ""
    mode = stat.filemode(_TYPES[entry.kind] | entry.mode)
    attributes = " ".join(name.removeprefix("SCHILY.xattr.") for name, _ in entry.xattrs)
    return " ".join(filter(None, (mode, f"{entry.uid}:{entry.gid}", attributes)))


_TYPES = {
    Kind.FILE: stat.S_IFREG,
    Kind.HARD_LINK: stat.S_IFREG,
    Kind.FOLDER: stat.S_IFDIR,
    Kind.LINK: stat.S_IFLNK,
    Kind.CHARACTER_DEVICE: stat.S_IFCHR,
    Kind.BLOCK_DEVICE: stat.S_IFBLK,
    Kind.FIFO: stat.S_IFIFO,
}
