"""What checks look at: a candidate, and the stage that is published."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from orchestrator.gate.checks.tree import Tree
from orchestrator.gate.sizes import SizeRecord, size_record
from tasks.artifacts.gate_tests import GateTest
from tasks.inspection.inventory import Entry, Inventory


class Stage:
    """One stage, and what several checks derive from its inventory."""

    def __init__(self, inventory: Inventory) -> None:
        self.inventory = inventory

    @cached_property
    def tree(self) -> Tree:
        return Tree(self.inventory)

    @cached_property
    def users(self) -> dict[int, str]:
        return _names(self.text("/etc/passwd"))

    @cached_property
    def groups(self) -> dict[int, str]:
        return _names(self.text("/etc/group"))

    @cached_property
    def sizes(self) -> SizeRecord:
        return size_record(self.inventory)

    def text(self, path: str) -> str:
        """The text of a file that the inventory keeps, through links; empty if there is none."""
        found = self.inventory.texts.get(self.tree.file_at(path), b"")
        return found.decode("utf-8", "surrogateescape")

    def lines(self, path: str) -> Iterator[str]:
        """The lines of such a file without comments and without what is empty."""
        for line in self.text(path).splitlines():
            if stripped := line.partition("#")[0].strip():
                yield stripped

    def owner(self, entry: Entry) -> str:
        """`root:shadow`, with numbers for owners that the stage does not name."""
        user = self.users.get(entry.uid, str(entry.uid))
        return f"{user}:{self.groups.get(entry.gid, str(entry.gid))}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is judged. `sizes` are those of the last published stages, the oldest first; `tests` is
    None if the host recorded none."""

    candidate: Stage
    published: Stage | None = None
    sizes: Sequence[SizeRecord] = ()
    tests: Sequence[GateTest] | None = None
    required_tests: Sequence[str] = ()


def _names(text: str) -> dict[int, str]:
    """The name of each number, from the lines of passwd(5) or group(5)."""
    found: dict[int, str] = {}
    for line in text.splitlines():
        name, *rest = line.split(":")
        if len(rest) >= 2 and rest[1].isascii() and rest[1].isdecimal() and len(rest[1]) < 12:
            found.setdefault(int(rest[1]), name)
    return found
