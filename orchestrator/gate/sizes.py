"""The sizes of stages, and how far they may change: fixed, or learned from what was published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

from orchestrator.formats.gatefile import SizeRule
from tasks.inspection.inventory import Inventory

RECORDS_MIN = 5
"""Fewer published stages teach nothing."""
TIMES = 4
"""A change is unusual if it is so many times the usual one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeRecord:
    """The sizes of one stage. `folders` has the bytes in each folder of the first two levels."""

    tarball_bytes: int
    tree_bytes: int
    folders: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much of its size a thing may grow and shrink, and why."""

    grow: float
    shrink: float
    reason: str


def size_record(inventory: Inventory) -> SizeRecord:
    """What is kept of a stage's sizes once it is published."""
    folders: dict[str, int] = {}
    for path, entry in inventory.files.items():
        _, *parts = path.split("/", 3)
        for depth in range(1, len(parts)):
            folder = "/" + "/".join(parts[:depth])
            folders[folder] = folders.get(folder, 0) + entry.size
    return SizeRecord(
        tarball_bytes=inventory.size_bytes, tree_bytes=inventory.unpacked_bytes, folders=folders
    )


def limits(rule: SizeRule, history: Sequence[int], *, fixed: float, least: float) -> Limits:
    """The limits of `rule`. Those that it leaves open are learned: a size may change `TIMES` as far
    as it usually does from one published stage to the next (the median, so that a jump that
    was accepted counts no more than any other night), and by `least` in any case. With fewer than
    `RECORDS_MIN` stages it is `fixed`."""
    changes = [abs(after - before) / before for before, after in pairwise(history) if before]
    if rule.grow is not None and rule.shrink is not None:
        learned, reason = 0.0, "set by the policy"
    elif len(history) < RECORDS_MIN or not changes:
        learned, reason = fixed, f"the default, until {RECORDS_MIN} stages are published"
    else:
        learned, reason = max(TIMES * median(changes), least), f"learned from {len(history)} stages"
    return Limits(
        grow=learned if rule.grow is None else rule.grow / 100,
        shrink=min(learned if rule.shrink is None else rule.shrink / 100, 1.0),
        reason=reason,
    )


def rounded(before: int, after: int) -> tuple[str, str]:
    """Both sizes with two digits, or as many as it takes to tell them apart. So a finding stays the
    same when some bytes change."""
    for digits in range(2, 20):
        texts = (_text(before, digits), _text(after, digits))
        if texts[0] != texts[1] or before == after:
            break
    return texts


def _text(size_bytes: int, digits: int) -> str:
    number = float(f"{size_bytes:.{digits}g}") if size_bytes else 0.0
    unit = next(unit for unit in _UNITS if number < 1000 * unit[0] or unit is _UNITS[-1])
    return f"{number / unit[0]:.{max(digits, 3)}g} {unit[1]}"


_UNITS = ((1, "B"), (10**3, "kB"), (10**6, "MB"), (10**9, "GB"), (10**12, "TB"))
