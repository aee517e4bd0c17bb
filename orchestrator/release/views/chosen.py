"""The views that a release file can name."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from orchestrator.formats.releasefile import ViewKind
from orchestrator.release.catalog import Catalog, Stage
from orchestrator.release.facts import Facts, Reader
from orchestrator.release.views.gentoo import Gentoo
from orchestrator.release.views.oci import Oci
from orchestrator.release.views.simplestreams import Simplestreams
from orchestrator.release.views.sums import Sums
from orchestrator.release.views.view import Signer, View

_VIEWS: dict[ViewKind, Callable[[Facts], View]] = {
    ViewKind.GENTOO: Gentoo,
    ViewKind.SHA256SUMS: lambda _: Sums(),
    ViewKind.SIMPLESTREAMS: Simplestreams,
    ViewKind.OCI: Oci,
}


def views_of(kinds: Iterable[ViewKind], facts: Facts) -> tuple[View, ...]:
    """The views of these kinds, each once."""
    return tuple(_VIEWS[kind](facts) for kind in dict.fromkeys(kinds))


def learn(
    views: Iterable[View],
    catalog: Catalog,
    signer: Signer | None,
    facts: Facts,
    read: Reader,
    on_stage: Callable[[Stage], None] = lambda _: None,
) -> None:
    """Learn what the views need to know of each tarball, in one pass over those that are new."""
    for stage in catalog.stages:
        on_stage(stage)
        wanted = {f.key: f for view in views for f in view.facts(catalog, stage, signer)}
        facts.learn(stage.tarball, wanted.values(), read)
