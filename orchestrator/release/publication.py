"""What a publication is: a plan, its outcome, and the generations that it starts from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from orchestrator.gate.holds import Hold
from orchestrator.release.catalog import Catalog, Generation
from orchestrator.release.mirrored import Mirrored, catalog_on
from orchestrator.release.taking import NOTHING, Taken
from tasks.errors import BadInput, StagefarmError
from tasks.store.store import StoredFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A publication: the current generation; whether it is `new`; the labels of mirrors that show
    it, and of others the reason; the bytes written; the paths removed; tags pushed by registry;
    what was taken, held and refused; and the holds that have ended."""

    catalog: Catalog
    new: bool
    before: Catalog | None = None
    published: tuple[str, ...] = ()
    failed: dict[str, StagefarmError] = field(default_factory=dict)
    written_bytes: int = 0
    removed: tuple[str, ...] = ()
    pushed: dict[str, list[str]] = field(default_factory=dict)
    taken: Taken = NOTHING
    ended: tuple[Hold, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A generation to publish: where its files are in the store, which of them were verified for an
    earlier one; what was taken for it."""

    catalog: Catalog
    before: Catalog | None
    sources: Mapping[str, StoredFile]
    verified: frozenset[str] = frozenset()
    taken: Taken = NOTHING


def newest_of(found: Sequence[Mirrored]) -> Catalog | None:
    catalogs = [one.catalog for one in found if one.catalog]
    return max(catalogs, key=lambda catalog: catalog.version, default=None)


def earlier(found: Sequence[Mirrored], current: Catalog, version: int | None) -> Catalog:
    """Generation `version`; `BadInput` if its catalog is not kept any more."""
    old = generation_of(current, version or 0)
    holder = max(found, key=lambda one: one.version)
    return catalog_on(holder.target, old.sha256)


def generation_of(current: Catalog, version: int) -> Generation:
    for generation in current.earlier:
        if generation.version == version:
            return generation
    kept = ", ".join(str(generation.version) for generation in current.earlier) or "none"
    raise BadInput(f"there is no earlier generation {version}", f"there are: {kept}")


def required(catalog: Catalog | None) -> Catalog:
    if not catalog:
        raise BadInput("nothing has been published yet", "stagefarm publish RELEASE_FILE")
    return catalog


@contextmanager
def noting(failed: dict[str, StagefarmError], label: str) -> Iterator[None]:
    """Keeps an error of one mirror from holding up the others."""
    try:
        yield
    except StagefarmError as error:
        failed[label] = error
