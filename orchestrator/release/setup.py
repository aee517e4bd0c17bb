"""A release as this machine publishes it: its file, its key, its mirrors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from orchestrator.formats.releasefile import load_release, name_of
from orchestrator.origin.ring import Ring
from orchestrator.release.ancestry import Ancestry
from orchestrator.release.facts import Facts
from orchestrator.release.gate_setup import gate_of
from orchestrator.release.known import Known
from orchestrator.release.publisher import Publisher
from orchestrator.release.registries import Registries
from orchestrator.release.shelves import Shelves
from orchestrator.release.signers import Keys, signers_of
from orchestrator.release.targets.opening import open_target
from orchestrator.release.views.chosen import views_of
from tasks.reporting import Report
from tasks.settings import Settings
from tasks.trust.keys import PublicKey
from tasks.trust.policy import release_key, trust_of


def publisher_of(
    file: Path,
    settings: Settings,
    report: Report,
    say: Callable[[str], object],
    *,
    verify_all: bool = False,
    recover: bool = False,
    dry_run: bool = False,
    with_ledger: bool = True,
) -> Publisher:
    """The publisher of the release file; `BadInput` with all that is wrong in it, or its key.
    `with_ledger`: mirrors that cannot lock may be locked in the farm's Redis."""
    document = load_release(file)
    release, folder = document.value, file.absolute().parent
    key = release_key(settings, folder / release.key if release.key else None)
    known = Known.of(settings)
    facts = Facts(known.folder / "facts")
    keys = Keys(
        openpgp=release.openpgp,
        minisign=folder / release.minisign if release.minisign else None,
        ed25519=key,
    )
    former = tuple(map(PublicKey.parse, release.former_keys))
    store = Shelves(settings)
    ancestry = Ancestry(
        ring=Ring(trust_of(settings), (key.public, *former)),
        key=key,
        store=store,
        mirrors=tuple(target.url for target in release.targets if target.url),
        say=say,
    )
    return Publisher(
        release=release,
        name=name_of(document),
        key=key,
        targets=[
            open_target(
                target, folder, settings, known.folder / "locks", say, with_ledger=with_ledger
            )
            for target in release.targets
        ],
        known=known,
        views=views_of(release.views, facts),
        signer=signers_of(keys, facts) if release.views else None,
        facts=facts,
        gate=gate_of(document, key, settings, facts, report, say),
        registries=Registries(release.registries, known.folder / "registries"),
        store=store,
        ancestry=ancestry,
        report=report,
        say=say,
        verify_all=verify_all,
        recover=recover,
        dry_run=dry_run,
    )
