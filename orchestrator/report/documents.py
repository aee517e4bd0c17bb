"""What programs read of a site: `status.json`, the Atom feed, and the badges."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.display.printable import visible
from orchestrator.report.model import Freshness, Release, StageName, StageView, Try, page_name
from orchestrator.report.pages import render

STATUS_VERSION = 1
FEED_MAX = 100


def status_json(
    releases: Sequence[Release],
    views: Sequence[StageView],
    *,
    now: float,
    farm_is_current: bool,
    read_at: float,
) -> str:
    """Documented in docs/report.md; `version` rises when a reader of an older one would fail."""
    return json.dumps(
        {
            "version": STATUS_VERSION,
            "written_at": now,
            "farm": {"current": farm_is_current, "read_at": read_at},
            "releases": [_release(one) for one in releases],
            "stages": [_stage(view) for view in views],
        },
        indent=1,
    )


def _release(release: Release) -> Mapping[str, object]:
    catalog = release.catalog
    return {
        "release": release.title,
        "url": release.url,
        "generation": catalog.version if catalog else 0,
        "created_at": catalog.created_at if catalog else 0.0,
    }


def _stage(view: StageView) -> Mapping[str, object]:
    name, newest = view.name, view.offered[0] if view.offered else None
    return {
        "release": name.release,
        "product": name.product,
        "variant": name.variant,
        "arch": name.arch,
        "subarch": name.subarch,
        "freshness": view.freshness,
        "max_age_s": view.max_age_s,
        "build": newest.build if newest else "",
        "built_at": view.built_at,
        "stale_at": view.until,
        "size_bytes": newest.tarball.size_bytes if newest else 0,
        "last_attempt": view.mark,
        "last_build": view.last.id if view.last else "",
        "cause": view.last.fingerprint if view.last else "",
        "held": [hold.build for hold in view.holds],
        "page": f"stage/{name.slug}.html",
        "badge": f"badge/{name.slug}.svg",
    }


# The feed


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of the feed; `id` is a URN that stays."""

    id: str
    title: str
    at: float
    page: str
    text: str


def feed(
    releases: Sequence[Release],
    views: Sequence[StageView],
    failures: Sequence[Try],
    builds: Container[str],
) -> str:
    every = [*_generations(releases), *_holds(views), *_failures(failures, builds)]
    entries = sorted(every, key=lambda entry: (-entry.at, entry.id))[:FEED_MAX]
    site = _urn("site", *(release.title for release in releases))
    updated = entries[0].at if entries else 0.0
    return render("feed.atom.j2", entries=entries, id=site, updated=updated, root="")


def _generations(releases: Sequence[Release]) -> Iterator[Entry]:
    for release in releases:
        if catalog := release.catalog:
            now = (catalog.version, catalog.created_at, len(catalog.stages), catalog.reason)
            before = ((g.version, g.created_at, g.stages, g.reason) for g in catalog.earlier)
            for version, created_at, stages, reason in (now, *before):
                yield Entry(
                    id=_urn("generation", release.title, str(version)),
                    title=f"Published: generation {version} of {visible(release.title)}",
                    at=created_at,
                    page="index.html",
                    text=f"{stages} builds of stages. {visible(reason)}".rstrip(),
                )


def _holds(views: Sequence[StageView]) -> Iterator[Entry]:
    for view in views:
        for hold in view.holds:
            first = hold.holding[0] if hold.holding else None
            said = f"{first.check} {first.path} {first.message}" if first else ""
            yield Entry(
                id=_urn("hold", view.name.release, hold.build, hold.tarball),
                title=f"Held by the gate: {_title(view.name)}",
                at=hold.since,
                page=f"stage/{view.name.slug}.html",
                text=visible(f"{len(hold.holding)} findings. {said}"[:500]),
            )


def _failures(failures: Sequence[Try], builds: Container[str]) -> Iterator[Entry]:
    for one in failures:
        page = f"build/{page_name(one.id)}.html" if one.id in builds else "index.html"
        yield Entry(
            id=_urn("failure", one.id, str(one.attempt)),
            title=f"Failed: {visible(one.id[:200])}",
            at=one.ended,
            page=page,
            text=visible(f"{one.step}: {one.cause or one.reason}"[:500]),
        )


def _title(name: StageName) -> str:
    return visible(f"{name.title} {name.queue}"[:200])


def _urn(*parts: str) -> str:
    return f"urn:sha256:{hashlib.sha256(repr(parts).encode()).hexdigest()}"


# Badges

_LETTER, _PAD = 6.6, 12


def badge(view: StageView) -> str:
    """`stage3 minimal | fresh` as a small picture."""
    left = visible(view.name.title)[:60]
    right = "no contract" if view.freshness is Freshness.UNBOUND else view.freshness.value
    widths = [round(len(text) * _LETTER + _PAD) for text in (left, right)]
    return render("badge.svg.j2", view=view, texts=(left, right), widths=widths)
