"""A treemap: folders as rectangles whose areas are their sizes.

The layout is squarified (Bruls, Huizing and van Wijk: "Squarified Treemaps", 2000): rectangles as
near to squares as can be, the largest first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

DEPTH_MAX = 3
"""Folders further down are counted in those above."""

CHILDREN_MAX = 40
"""Further folders of a folder are shown as one."""

_HEADING = 20.0
_MARGIN = 2.0
_DIVIDED_WIDTH, _DIVIDED_HEIGHT = 120.0, 90.0


@dataclass(slots=True)
class Folder:
    """A folder with the bytes of all files in it, in two stages."""

    path: str
    before: int = 0
    after: int = 0
    inside: dict[str, Folder] = field(default_factory=dict)

    @property
    def weight(self) -> int:
        return max(self.before, self.after)


@dataclass(frozen=True, slots=True)
class Box:
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Tile:
    """A folder in its place. A divided one has the tiles of its folders on it."""

    folder: Folder
    box: Box
    is_divided: bool = False


def folders(before: Mapping[str, int], after: Mapping[str, int]) -> Folder:
    """The tree of folders for the sizes of files by their absolute paths."""
    root = Folder("/")
    for path, size in before.items():
        for folder in _above(root, path):
            folder.before += size
    for path, size in after.items():
        for folder in _above(root, path):
            folder.after += size
    return root


def _above(root: Folder, path: str) -> Iterator[Folder]:
    here = root
    yield here
    for name in path.split("/")[1:-1][:DEPTH_MAX]:
        if name not in here.inside:
            here.inside[name] = Folder(f"{here.path.rstrip('/')}/{name}")
        here = here.inside[name]
        yield here


def tiles(folder: Folder, box: Box) -> Iterator[Tile]:
    """The tiles of all folders in `folder`, those behind before those in front of them."""
    shown = _children(folder)
    for child, place in zip(shown, squarified([one.weight for one in shown], box), strict=True):
        inner = Box(
            place.x + _MARGIN,
            place.y + _HEADING,
            place.width - 2 * _MARGIN,
            place.height - _HEADING - _MARGIN,
        )
        large = place.width >= _DIVIDED_WIDTH and place.height >= _DIVIDED_HEIGHT
        is_divided = bool(child.inside) and large
        yield Tile(child, place, is_divided)
        if is_divided:
            yield from tiles(child, inner)


def _children(folder: Folder) -> list[Folder]:
    """The folders in it, the largest first; the rest, and the files in it, as one at the end."""
    ordered = sorted(folder.inside.values(), key=lambda one: (-one.weight, one.path))
    shown = ordered[:CHILDREN_MAX]
    rest = Folder(
        str(PurePosixPath(folder.path, "(rest)")),
        before=folder.before - sum(one.before for one in shown),
        after=folder.after - sum(one.after for one in shown),
    )
    found = [*shown, rest]
    return sorted((one for one in found if one.weight), key=lambda one: (-one.weight, one.path))


def squarified(weights: Iterable[int], box: Box) -> list[Box]:
    """A box for each of the positive `weights`, the largest first, which together fill `box`."""
    left = list(weights)
    placed: list[Box] = []
    while left:
        area = box.width * box.height / sum(left)
        side = min(box.width, box.height)
        count = 1
        while count < len(left) and _worst(left[: count + 1], side, area) <= _worst(
            left[:count], side, area
        ):
            count += 1
        row, left = left[:count], left[count:]
        boxes, box = _row(row, box, area)
        placed += boxes
    return placed


def _worst(row: list[int], side: float, area: float) -> float:
    """The worst ratio of the sides of the boxes of a row."""
    total = sum(row) * area
    if not total or not side:
        return float("inf")
    return max(
        max(side**2 * one * area / total**2, total**2 / (side**2 * one * area)) for one in row
    )


def _row(row: list[int], box: Box, area: float) -> tuple[list[Box], Box]:
    """The boxes of a row along the shorter side of `box`, and what is left of it."""
    boxes, at = [], 0.0
    wide = box.width >= box.height
    side = box.height if wide else box.width
    depth = sum(row) * area / side if side else 0.0
    for one in row:
        length = one * area / depth if depth else 0.0
        place = (box.x, box.y + at, depth, length) if wide else (box.x + at, box.y, length, depth)
        boxes.append(Box(*place))
        at += length
    if wide:
        return boxes, Box(box.x + depth, box.y, box.width - depth, box.height)
    return boxes, Box(box.x, box.y + depth, box.width, box.height - depth)
