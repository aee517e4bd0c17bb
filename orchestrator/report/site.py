"""Writes a site: reads the releases and the ledger, and makes the pages of what has changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from orchestrator.display.terminal import duration, size
from orchestrator.report.charts import chart, spans
from orchestrator.report.documents import badge, feed, status_json
from orchestrator.report.farm import details, read_farm
from orchestrator.report.folder import Pages, SiteFolder, recall, remember, site_folder
from orchestrator.report.logs import failure_in, pages_of
from orchestrator.report.matrix import matrices, stage_views
from orchestrator.report.model import Farm, Release, StageView, Try, page_name
from orchestrator.report.packages import changes_in
from orchestrator.report.pages import look, render, style
from orchestrator.report.published import Source
from tasks.errors import StagefarmError
from tasks.ledger.builds import Ledger
from tasks.ledger.records import Record
from tasks.model import BuildState, decode, encode
from tasks.settings import Settings

FARM_FILE = "farm.json"
WAITING = (BuildState.QUEUED, BuildState.BLOCKED)
WITH_LOG = (BuildState.FAILED, BuildState.CANCELLED)
"""The builds whose logs become pages; of others the log lies in the store."""


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
    """Bring the site in `folder` up to date at the time `now`. Without a ledger, what the last
    report read of it is shown again, and pages say so."""
    releases = [source.read() for source in sources]
    with site_folder(folder, look()) as site:
        if ledger:
            farm, records = read_farm(ledger, sources, builds_max, settings)
            remember(folder, FARM_FILE, encode(farm))
        else:
            farm, records = _last_farm(folder), {}
        views = stage_views(releases, farm, now)
        writer = _Writer(
            site=site,
            releases=releases,
            sources={source.title: source for source in sources},
            farm=farm,
            views=views,
            is_current=ledger is not None,
            builds=frozenset(one.id for one in farm.tries),
        )
        writer.write_common()
        for view in views:
            writer.write_stage(view)
        if ledger:
            for one in farm.tries:
                writer.write_build(one, records[one.id], ledger, settings)
        else:
            site.keep("build/")
    return Report(
        folder=folder,
        stages=len(views),
        builds=len(farm.tries),
        counts=Counter(view.freshness for view in views),
        written=site.written,
        written_bytes=site.written_bytes,
        removed=site.removed,
        farm_is_current=ledger is not None,
    )


def _last_farm(folder: Path) -> Farm:
    content = recall(folder, FARM_FILE)
    try:
        return decode(content, Farm) if content else Farm()
    except StagefarmError:  # of another version: the next report with Redis writes it anew
        return Farm()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Writer:
    site: SiteFolder
    releases: Sequence[Release]
    sources: Mapping[str, Source]
    farm: Farm
    views: Sequence[StageView]
    is_current: bool
    builds: frozenset[str]

    def write_common(self) -> None:
        tables = tuple(matrices(self.views))
        published = tuple(
            (one.title, one.url, one.catalog.version if one.catalog else 0,
             one.catalog.created_at if one.catalog else 0.0)
            for one in self.releases
        )  # fmt: skip
        current = self.is_current
        self.site.put("style.css", "", lambda: {"style.css": style()})
        self._page("index.html", (tables, published), matrices=tables, releases=self.releases)
        waiting = _queues(self.farm)
        self._page("hosts.html", (self.farm.hosts, waiting), hosts=self.farm.hosts, queues=waiting)
        status = status_json(
            self.releases, self.views, farm_is_current=current, seen=self.farm.seen
        )
        self.site.put("status.json", status, lambda: {"status.json": f"{status}\n"})
        said = feed(self.releases, self.views, self.farm, set(self.builds))
        self.site.put("feed.atom", said, lambda: {"feed.atom": said})

    def write_stage(self, view: StageView) -> None:
        slug = view.name.slug
        self.site.put(
            f"badge/{slug}",
            (view.name, view.freshness),
            lambda: {f"badge/{slug}.svg": badge(view)},
        )
        self._page(
            f"stage/{slug}.html",
            (view, [stage.build in self.builds for stage in view.offered]),
            template="stage.html.j2",
            view=view,
            changes=lambda: tuple(changes_in(view.offered, self.sources[view.name.release].find)),
            charts=lambda: _charts(view),
            mirror=next(one.url for one in self.releases if one.title == view.name.release),
        )

    def write_build(self, one: Try, record: Record, ledger: Ledger, settings: Settings) -> None:
        name = page_name(one.id)
        make = partial(self._build_pages, one, record, ledger, settings)
        self.site.put(f"build/{name}", (one.digest, one.stages), make)

    def _build_pages(self, one: Try, record: Record, ledger: Ledger, settings: Settings) -> Pages:
        name = page_name(one.id)
        found = details(ledger, record, settings, with_log=one.state in WITH_LOG)
        failure = failure_in(found.log) if one.state is BuildState.FAILED else None
        common = {"root": "../", "builds": self.builds, "one": one, "record": record, "name": name}
        ended = one.ended or max((max(pair) for pair in found.times), default=0.0)
        made = {
            f"build/{name}.html": render(
                "build.html.j2",
                found=found,
                spans=spans(found.times, ended),
                failure=failure,
                **common,
            )
        }
        if found.log:
            for page in pages_of(found.log, failure.line if failure else 0):
                at = f"log/{name}{page.suffix}.html"
                made[at] = render("log.html.j2", page=page, failure=failure, **common)
        return made

    def _page(self, path: str, shows: object, *, template: str = "", **values: object) -> None:
        """A page of one file. Values that are functions are called only if it is made."""
        seen = None if self.is_current else self.farm.seen
        root = "../" * path.count("/")

        def make() -> Pages:
            made = {name: one() if callable(one) else one for name, one in values.items()}
            page = render(
                template or f"{path}.j2",
                root=root, builds=self.builds, farm_seen=seen, **made,
            )  # fmt: skip
            return {path: page}

        self.site.put(path, (shows, seen), make)


def _queues(farm: Farm) -> tuple[tuple[str, int, int, int], ...]:
    """Each queue with how many builds wait and run in it, and how many slots serve it."""
    names = {one.queue for one in farm.tries} | {q for host in farm.hosts for q in host.queues}
    waiting = Counter(one.queue for one in farm.tries if one.state in WAITING)
    running = Counter(one.queue for one in farm.tries if one.state is BuildState.RUNNING)
    slots = {
        name: sum(host.slots for host in farm.hosts if name in host.queues and host.state == "up")
        for name in names
    }
    return tuple((name, waiting[name], running[name], slots[name]) for name in sorted(names))


def _charts(view: StageView) -> list[object]:
    published = [(stage.build, stage) for stage in reversed(view.offered)]
    done = [one for one in reversed(view.tries) if one.state is BuildState.SUCCEEDED]
    sizes = {one.id: one.size_bytes for one in done if one.size_bytes}
    sizes |= {build: stage.tarball.size_bytes for build, stage in published}
    took = [(one.id, one.took_s) for one in done if one.took_s]
    made = (
        chart("Size", list(sizes.items()), lambda value: size(int(value))),
        chart("Duration", took, duration),
    )
    return [one for one in made if one]
