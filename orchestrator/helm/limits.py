"""Limits of time and memory for a template."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.helm.errors import LimitReached


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """`steps` bounds what the interpreter executes, `size` the characters of one value or of the
    output, `items` those of one list, `values` those of a list or map with all nested ones when
    it is printed or compared, `work` the characters and items of all intermediate results, and
    `depth` the templates that call each other."""

    steps: int = 500_000
    size: int = 4_000_000
    items: int = 200_000
    values: int = 500_000
    work: int = 50_000_000
    depth: int = 1000


@dataclass(slots=True)
class Budget:
    """The usage of one rendering, checked against its limits."""

    limits: Limits
    steps: int = 0
    work: int = 0
    depth: int = 0

    def step(self, count: int = 1) -> None:
        self.steps += count
        if self.steps > self.limits.steps:
            raise LimitReached(
                f"the template takes more than {self.limits.steps} steps",
                "does a loop run for too long?",
            )

    def reserve(self, size: int) -> None:
        """Call before a text of `size` characters is made."""
        if size > self.limits.size:
            raise LimitReached(
                f"the template makes a text of more than {self.limits.size} characters"
            )
        self.work += max(size, 0)
        if self.work > self.limits.work:
            raise LimitReached(
                f"the template makes more than {self.limits.work} characters of text"
            )

    def reserve_items(self, count: int) -> None:
        """Call before a list of `count` items is made."""
        if count > self.limits.items:
            raise LimitReached(f"the template makes a list of more than {self.limits.items} items")
        self.work += max(count, 0)

    def measure(self, *values: object) -> int:
        """Call before `values` are walked recursively, to print or compare them; returns how many
        there are. A list may contain another many times, so its own length is not enough."""
        size = count = 0
        waiting = list(values)
        while waiting:
            value = waiting.pop()
            count += 1
            if isinstance(value, str):
                size += len(value)
            elif isinstance(value, dict):
                waiting.extend(value)
                waiting.extend(value.values())
            elif isinstance(value, list):
                waiting.extend(value)
            if count + len(waiting) > self.limits.values:
                limit = self.limits.values
                raise LimitReached(
                    f"a value holds more than {limit} others", "does it hold itself?"
                )
        self.reserve(size + count)
        return count
