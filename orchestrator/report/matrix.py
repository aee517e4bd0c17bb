"""The stages of a site, and their table by architecture. Nothing here reads or writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.report.model import (
    Freshness,
    KnownStage,
    Release,
    StageName,
    StageView,
    freshness,
)

DENSE_ABOVE = 60


def stage_views(
    releases: Sequence[Release], tried: Sequence[KnownStage], now: float
) -> tuple[StageView, ...]:
    """Every stage that is published, held, or was tried, sorted by name."""
    known = {one.name: one for one in tried}
    return tuple(
        StageView(
            name=name,
            max_age_s=max_age_s,
            freshness=freshness(_newest(release, name), max_age_s, now),
            offered=release.offered.get(name, ()),
            holds=release.holds.get(name, ()),
            last=known[name].last if name in known else None,
            history=known[name].history if name in known else "",
        )
        for release in releases
        for name, max_age_s in sorted(_contracts(release, tried).items())
    )


def _contracts(release: Release, tried: Sequence[KnownStage]) -> dict[StageName, float]:
    ages = {one.name: one.max_age_s for one in tried if one.name.release == release.title}
    return {**dict.fromkeys(release.holds, 0.0), **ages, **release.contracts}


def _newest(release: Release, name: StageName) -> float:
    return max((stage.built_at for stage in release.offered.get(name, ())), default=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The stages of one product and variant: one for each column, None where there is none."""

    title: str
    cells: tuple[StageView | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    counts: Mapping[Freshness, int]

    @property
    def is_dense(self) -> bool:
        """Whether it has so many stages that each gets little room."""
        return sum(self.counts.values()) > DENSE_ABOVE


def matrices(views: Sequence[StageView]) -> Iterator[Matrix]:
    """One for each release."""
    for title in dict.fromkeys(view.name.release for view in views):
        yield _matrix(title, [view for view in views if view.name.release == title])


def _matrix(title: str, views: Sequence[StageView]) -> Matrix:
    columns = tuple(sorted({view.name.queue for view in views}))
    rows: dict[tuple[str, str], dict[str, StageView]] = {}
    for view in views:
        rows.setdefault((view.name.product, view.name.variant), {})[view.name.queue] = view
    counts = Counter(view.freshness for view in views)
    return Matrix(
        title=title,
        columns=columns,
        rows=tuple(
            Row(
                title=next(iter(found.values())).name.title,
                cells=tuple(found.get(column) for column in columns),
            )
            for _, found in sorted(rows.items())
        ),
        counts={one: counts[one] for one in Freshness if counts[one]},
    )
