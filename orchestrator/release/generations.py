"""What the next generation is made of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from orchestrator.formats.releasefile import Releasefile
from orchestrator.release.catalog import Catalog, Generation, Stage
from orchestrator.release.retention import kept
from tasks.errors import BadInput

WITHDRAWN_MAX = 1000


def next_generation(
    before: Catalog | None,
    new: Iterable[Stage],
    release: Releasefile,
    *,
    name: str,
    version: int,
    now: float,
) -> Catalog:
    """The stages of `before` and the new ones, as far as the release keeps them."""
    old = before or Catalog(release=name, channel=release.channel, version=0, created_at=0.0)
    fresh = {stage.id: stage for stage in new}
    stages = {**{stage.id: stage for stage in old.stages}, **fresh}
    taken = {stage.build for stage in fresh.values()}
    return succeeding(
        replace(old, release=name),
        keeping(stages.values(), release, old.pins),
        version=version,
        now=now,
        grace_s=release.keep.grace,
        withdrawn=tuple(build for build in old.withdrawn if build not in taken),
    )


def succeeding(
    before: Catalog,
    stages: tuple[Stage, ...],
    *,
    version: int,
    now: float,
    grace_s: float,
    withdrawn: tuple[str, ...],
    reason: str = "",
) -> Catalog:
    """The generation with these stages after `before`, which it remembers."""
    last = Generation(
        version=before.version,
        created_at=before.created_at,
        replaced_at=now,
        sha256=before.sha256,
        stages=len(before.stages),
        reason=before.reason,
    )
    known = (last, *before.earlier) if before.version else ()
    return replace(
        before,
        version=version,
        created_at=now,
        stages=stages,
        withdrawn=withdrawn[-WITHDRAWN_MAX:],
        earlier=tuple(one for one in known if now - one.replaced_at < grace_s),
        reason=reason,
    )


def keeping(
    stages: Iterable[Stage], release: Releasefile, pins: Iterable[str]
) -> tuple[Stage, ...]:
    """The stages that the release keeps, newest builds first within a stage."""
    pinned, groups = set(pins), dict[tuple[str, str, str, str], list[Stage]]()
    for stage in stages:
        groups.setdefault(stage.key, []).append(stage)
    found = []
    for _, group in sorted(groups.items()):
        group.sort(key=lambda stage: (-stage.built_at, stage.id))
        wanted = kept([stage.built_at for stage in group], release.keep)
        found += [
            stage for index, stage in enumerate(group) if index in wanted or stage.build in pinned
        ]
    return tuple(found)


def rolled_back(
    current: Catalog, old: Catalog, *, version: int, now: float, grace_s: float
) -> Catalog:
    """The stages of generation `old` once more, after the `current` one. What is not in them is not
    published again by itself."""
    there = {stage.build for stage in old.stages}
    removed = [stage.build for stage in current.stages if stage.build not in there]
    return succeeding(
        current,
        old.stages,
        version=version,
        now=now,
        grace_s=grace_s,
        withdrawn=tuple(dict.fromkeys([*current.withdrawn, *removed])),
        reason=f"rolled back to {old.version}",
    )


def pinned(
    current: Catalog, build: str, *, version: int, now: float, grace_s: float, remove: bool
) -> Catalog:
    """The current stages, with the pin of `build` set or removed; `BadInput` if there is none."""
    if build not in {stage.build for stage in current.stages}:
        raise BadInput(
            f"generation {current.version} has no build {build!r}", "see `stagefarm release show`"
        )
    others = tuple(pin for pin in current.pins if pin != build)
    made = succeeding(
        current,
        current.stages,
        version=version,
        now=now,
        grace_s=grace_s,
        withdrawn=current.withdrawn,
        reason=f"{'unpinned' if remove else 'pinned'} {build}",
    )
    return replace(made, pins=others if remove else (*others, build))


def is_same(one: Catalog | None, other: Catalog) -> bool:
    """Whether two generations offer the same."""
    return one is not None and (one.stages, one.pins) == (other.stages, other.pins)
