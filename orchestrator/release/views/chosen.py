"""The views that a release file can name."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from orchestrator.release.catalog import Catalog, Stage
from orchestrator.release.facts import Facts
from orchestrator.release.views.gentoo import Gentoo
from orchestrator.release.views.oci import Oci
from orchestrator.release.views.simplestreams import Simplestreams
from orchestrator.release.views.sums import Sums
from orchestrator.release.views.view import Signer, View
from tasks.errors import BadInput

_VIEWS: dict[str, Callable[[Facts], View]] = {
    "gentoo": Gentoo,
    "sha256sums": lambda _: Sums(),
    "simplestreams": Simplestreams,
    "oci": Oci,
}
NAMES = tuple(_VIEWS)


def views_of(names: Iterable[str], facts: Facts) -> tuple[View, ...]:
    """The views with these names, in this order."""
    wanted = tuple(dict.fromkeys(names))
    if unknown := [name for name in wanted if name not in _VIEWS]:
        raise BadInput(f"there is no view {unknown[0]!r}", f"there are {', '.join(NAMES)}")
    return tuple(_VIEWS[name](facts) for name in wanted)


def learn(
    views: Iterable[View],
    catalog: Catalog,
    signer: Signer | None,
    facts: Facts,
    on_stage: Callable[[Stage], None] = lambda _: None,
) -> None:
    """Learn what the views need to know of each tarball, in one pass over those that are new."""
    for stage in catalog.stages:
        on_stage(stage)
        wanted = {f.key: f for view in views for f in view.facts(catalog, stage, signer)}
        facts.learn(stage.tarball, wanted.values())
