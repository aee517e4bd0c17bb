"""Writes a site: reads the releases and the ledger, and makes the pages of what has changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.display.terminal import duration, size
from orchestrator.report.builds import KnownBuilds
from orchestrator.report.charts import Chart, chart
from orchestrator.report.documents import FEED_MAX, badge, feed, status_json
from orchestrator.report.farm import read_farm
from orchestrator.report.folder import Pages, SiteFolder, site_folder
from orchestrator.report.ledger_pages import LedgerPages
from orchestrator.report.matrix import matrices, stage_views
from orchestrator.report.model import Release, StageView, Try
from orchestrator.report.packages import Find, changes_in
from orchestrator.report.pages import look, render, style
from orchestrator.report.published import Source
from tasks.errors import FarmUnreachable
from tasks.ledger.builds import Ledger
from tasks.model import BuildState
from tasks.settings import Settings

NIGHTS_MAX = 60
"""The batches that are listed, those that began last."""

CAUSES_MAX = 200
"""The causes that are listed, those that made a build fail last."""

SAYS_S = 3600.0
"""So often the first page says anew when it was written, if nothing else has changed on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What `write_site` did. `farm_is_current`: the ledger answered."""

    folder: Path
    stages: int
    builds: int
    counts: Mapping[str, int]
    written: int
    written_bytes: int
    removed: int
    farm_is_current: bool


def write_site(
    sources: Sequence[Source],
    ledger: Ledger | None,
    folder: Path,
    settings: Settings,
    *,
    now: float,
    builds_max: int,
) -> Report:
    """Bring the site in `folder` up to date at the time `now`. Without a ledger, or if that does
    not answer, what the last report read of it is shown again, and pages say so."""
    releases = [source.read() for source in sources]
    with site_folder(folder, look()) as site:
        known, is_current = KnownBuilds(site.database), False
        if ledger:
            try:
                read_farm(site, ledger, sources, builds_max, settings)
                LedgerPages(site=site, known=known, ledger=ledger, settings=settings).write()
                is_current = True
            except FarmUnreachable:
                site.write()
        views = stage_views(releases, known.stages(), now)
        writer = _Writer(
            site=site,
            releases=releases,
            sources={source.title: source for source in sources},
            known=known,
            views=views,
            now=now,
            is_current=is_current,
        )
        for view in views:
            writer.write_stage(view)
        writer.write_common()
        site.remove_others()
        return Report(
            folder=folder,
            stages=len(views),
            builds=known.count(),
            counts=Counter(view.freshness for view in views),
            written=site.written,
            written_bytes=site.written_bytes,
            removed=site.removed,
            farm_is_current=is_current,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Writer:
    """The pages that tell of what is published too: looked at by each report."""

    site: SiteFolder
    releases: Sequence[Release]
    sources: Mapping[str, Source]
    known: KnownBuilds
    views: Sequence[StageView]
    now: float
    is_current: bool

    def write_common(self) -> None:
        self._write_index()
        hosts, queues = self.known.hosts, self.known.queues()
        self._page("hosts.html", (hosts, queues), lambda: {"hosts": hosts, "queues": queues})
        causes = self.known.causes(CAUSES_MAX)
        self._page("causes.html", causes, lambda: {"causes": causes})
        nights = self.known.nights(NIGHTS_MAX)
        self._page("nights.html", nights, lambda: {"nights": nights})
        self.site.put("style.css", "", lambda: {"style.css": style()})
        status = status_json(
            self.releases,
            self.views,
            now=self.now,
            farm_is_current=self.is_current,
            read_at=self.known.read_at,
        )
        self.site.put("status.json", status, lambda: {"status.json": f"{status}\n"})
        said = feed(self.releases, self.views, self.known.failures(FEED_MAX), self.known)
        self.site.put("feed.atom", said, lambda: {"feed.atom": said})

    def _write_index(self) -> None:
        shows = (
            int(self.now // SAYS_S),
            [_published(one) for one in self.releases],
            [(v.name, v.freshness, v.built_at, v.mark, _cause(v)) for v in self.views],
        )
        self._page(
            "index.html",
            shows,
            lambda: {
                "matrices": tuple(matrices(self.views)),
                "releases": self.releases,
                "now": self.now,
            },
        )

    def write_stage(self, view: StageView) -> None:
        slug, (mirror, find) = view.name.slug, self._mirror(view)
        self.site.put(
            f"badge/{slug}",
            (view.name, view.freshness),
            lambda: {f"badge/{slug}.svg": badge(view)},
        )

        def values() -> Mapping[str, object]:
            tries = self.known.of_stage(view.name)
            return {
                "view": view,
                "mirror": mirror,
                "tries": tries,
                "charts": _charts(view, tries),
                "changes": tuple(changes_in(view.offered, find)),
            }

        shows = (mirror, _shown(view), self._linked(view))
        self._page(f"stage/{slug}.html", shows, values, template="stage.html.j2")

    def _mirror(self, view: StageView) -> tuple[str, Find]:
        """Where users download the stage, and how its files are read there."""
        title = view.name.release
        url = next(one.url for one in self.releases if one.title == title)
        return url, self.sources[title].find

    def _linked(self, view: StageView) -> list[bool]:
        """Which of the builds that the mirror or the gate have are builds of the ledger too."""
        named = [*(one.build for one in view.offered), *(one.build for one in view.holds)]
        return [build in self.known for build in named]

    def _page(
        self,
        path: str,
        shows: object,
        values: Callable[[], Mapping[str, object]],
        *,
        template: str = "",
    ) -> None:
        """A page of one file, made of `values` if it shows something else than before."""
        read_at = None if self.is_current else self.known.read_at
        common: Mapping[str, object] = {
            "root": "../" * path.count("/"), "builds": self.known, "farm_read_at": read_at,
        }  # fmt: skip

        def make() -> Pages:
            return {path: render(template or f"{path}.j2", **common, **values())}

        self.site.put(path, (shows, read_at), make)


def _published(release: Release) -> object:
    catalog = release.catalog
    return (release.title, release.url, catalog and (catalog.version, catalog.created_at))


def _cause(view: StageView) -> object:
    return view.last and (view.last.fingerprint, view.last.cause)


def _shown(view: StageView) -> object:
    """All that the page of the stage shows; what was published of a build does not change."""
    offered = [(one.build, one.attempt, one.built_at, one.tarball) for one in view.offered]
    return (view.name, view.max_age_s, view.freshness, offered, view.holds, view.history, view.mark)


def _charts(view: StageView, tries: Sequence[Try]) -> list[Chart]:
    published = [(stage.build, stage) for stage in reversed(view.offered)]
    done = [one for one in reversed(tries) if one.state is BuildState.SUCCEEDED]
    sizes = {one.id: one.size_bytes for one in done if one.size_bytes}
    sizes |= {build: stage.tarball.size_bytes for build, stage in published}
    took = [(one.id, one.took_s) for one in done if one.took_s]
    made = (
        chart("Size", list(sizes.items()), lambda value: size(int(value))),
        chart("Duration", took, duration),
    )
    return [one for one in made if one]
