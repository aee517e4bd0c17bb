"""Finds what the order of new builds is made of: contracts, what users have, past durations, slots.

The contract is in the release file that a batch names, on the machine that submits it, or with the
entry of the batch. What is not known there orders nothing: the build waits as one without contract.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from orchestrator.farm.orders import Contract, orders_of
from orchestrator.formats.releasefile import NAME, Releasefile, load_release
from orchestrator.release.setup import publisher_of
from orchestrator.release.taking import names_of, selection_of
from tasks.errors import BadInput, HostUnfit, StagefarmError
from tasks.ledger.builds import Ledger
from tasks.ledger.hosts import Hosts
from tasks.ledger.order import Order, Success, expected_s
from tasks.ledger.queues import Queues
from tasks.model import Build
from tasks.reporting import Silent
from tasks.settings import Settings
from tasks.trust.policy import own_release_keys

logger = logging.getLogger(__name__)

Key = tuple[str, str, str, str]
"""Product, arch, subarch and variant of a stage."""


def find_orders(builds: Sequence[Build], ledger: Ledger, settings: Settings) -> dict[str, Order]:
    """The order of each build, by id."""
    variants = [(build.queue, build.job, build.variant) for build in builds]
    found = Queues(ledger.connection).successes(variants)
    successes = {build.id: one for build, one in zip(builds, found, strict=True)}
    takes_s = {build: expected_s(one) for build, one in successes.items()}
    contracts = _contracts(builds, successes, settings)
    return orders_of(builds, contracts, takes_s, _slots(ledger, settings))


def _slots(ledger: Ledger, settings: Settings) -> Mapping[str, int]:
    """How many builds each queue runs at a time."""
    now, found = ledger.now(), Counter[str]()
    for host in Hosts(ledger.connection).all():
        if host.alive(now, settings.lease_s):
            found.update(dict.fromkeys(host.queues, host.slots))
    return found


def _contracts(
    builds: Sequence[Build], successes: Mapping[str, tuple[Success, ...]], settings: Settings
) -> dict[str, Contract]:
    found: dict[str, Contract] = {}
    for name in {build.release for build in builds}:
        group = [build for build in builds if build.release == name and not build.rebuild_of]
        file = Path(settings.release_dir, f"{name}.yaml")
        if NAME.fullmatch(name) and file.is_file():
            found |= _of_release(file, group, settings)
        else:
            found |= _of_batch(group, successes)
    return found


def _of_batch(
    builds: Sequence[Build], successes: Mapping[str, tuple[Success, ...]]
) -> dict[str, Contract]:
    """Those of batches without release: what users have is what succeeded last."""
    newest = {build: found[0].ended for build, found in successes.items() if found}
    return {
        build.id: Contract(published_at=newest.get(build.id, 0.0), max_age_s=build.max_age_s)
        for build in builds
        if build.max_age_s
    }


def _of_release(file: Path, builds: Sequence[Build], settings: Settings) -> dict[str, Contract]:
    """Those of builds that name a release. A mirror that cannot be read presses nobody."""
    try:
        release = load_release(file).value
        wanted = {build.id: stage for build in builds if (stage := _stage(build, release))}
        published = _published(file, settings) if wanted else {}
    except StagefarmError as error:
        logger.warning("builds are queued as without contract: %s: %s", file.name, error)
        return {}
    return {
        build: Contract(published_at=published.get(key, 0.0), max_age_s=max_age_s)
        for build, (key, max_age_s) in wanted.items()
    }


def _stage(build: Build, release: Releasefile) -> tuple[Key, float] | None:
    """The stage that the build makes, and its contract; None if it has none."""
    selection = selection_of(release.stages, build.job, build.batch)
    max_age_s = build.max_age_s or (float(selection.max_age) if selection else 0.0)
    if selection and max_age_s:
        with suppress(BadInput):  # the job lacks an option that the release names
            product, variant, _ = names_of(selection, build)
            return (product, build.arch, build.subarch, variant), max_age_s
    return None


def _published(file: Path, settings: Settings) -> dict[Key, float]:
    """When the newest build of each stage that users can download ended; `HostUnfit` on a machine
    that does not publish it."""
    if not load_release(file).value.key and not own_release_keys(settings):
        raise HostUnfit("this machine has no key of the release")
    publisher = publisher_of(file, settings, Silent(), logger.warning, with_ledger=False)
    catalog, found = publisher.current(), dict[Key, float]()
    for stage in catalog.stages if catalog else ():
        found[stage.key] = max(found.get(stage.key, 0.0), stage.built_at)
    return found
