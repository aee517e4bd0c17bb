"""Keeps the caches of a machine within one size limit, by removing the least recently used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar


class Kept(Protocol):
    """One thing in a cache; `used_at` in seconds since 1970."""

    @property
    def key(self) -> str: ...
    @property
    def size_bytes(self) -> int: ...
    @property
    def used_at(self) -> float: ...


Item_co = TypeVar("Item_co", bound=Kept, covariant=True)


class Cache(Protocol[Item_co]):
    def sweep(self) -> None:
        """Remove what processes that were killed left behind."""

    def all(self) -> Sequence[Item_co]: ...

    def remove(self, key: str, /) -> bool:
        """Remove one thing unless it is in use; returns whether it was removed."""


def prune(caches: Sequence[Cache[Item_co]], limit_bytes: int) -> list[Item_co]:
    """Remove the least recently used from `caches` until the rest of them all fits into
    `limit_bytes`; returns what was removed. What is in use is never removed."""
    for cache in caches:
        cache.sweep()
    kept = [(item, cache) for cache in caches for item in cache.all()]
    total = sum(item.size_bytes for item, _ in kept)
    removed = []
    for item, cache in sorted(kept, key=lambda pair: pair[0].used_at):
        if total > limit_bytes and cache.remove(item.key):
            total -= item.size_bytes
            removed.append(item)
    return removed
