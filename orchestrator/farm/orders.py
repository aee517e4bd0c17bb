"""The orders of builds that are submitted together: who is pressed by which contract. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrator.planning.dependencies import levels
from tasks.ledger.order import FAR_S, Order, order_of
from tasks.model import Build


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """How old a stage may become, and when the one that users have was built; 0 if they have
    none."""

    published_at: float
    max_age_s: float


def orders_of(
    builds: Sequence[Build],
    contracts: Mapping[str, Contract],
    expected_s: Mapping[str, float],
    slots: Mapping[str, int],
) -> dict[str, Order]:
    """The order of each build, by id as `contracts` and `expected_s`; `slots` are those of queues.
    A build is pressed by its own contract, or by that of a build that starts from its tarball,
    whichever wants it earlier."""
    orders: dict[str, Order] = {}
    for level in reversed(list(levels(builds))):
        for build in level:
            takes_s = expected_s[build.id]
            plain = order_of(build, takes_s / max(1, slots.get(build.queue, 0)))
            pressing = [
                _behind(plain, orders[other.id], takes_s)
                for other in builds
                if other.after == build.id
            ]
            if contract := contracts.get(build.id):
                pressing.append(_bound(plain, contract, takes_s))
            orders[build.id] = min(pressing, key=lambda order: order.latest, default=plain)
    return {build.id: _relaxed(orders[build.id], build) for build in builds}


def by_latest(builds: Sequence[Build], orders: Mapping[str, Order]) -> list[Build]:
    """`builds` as they get their turns: by latest start, each after the one it starts from."""
    return [
        build
        for level in levels(builds)
        for build in sorted(level, key=lambda build: orders[build.id].latest)
    ]


def _bound(plain: Order, contract: Contract, rest_s: float) -> Order:
    return replace(
        plain,
        latest=contract.published_at + contract.max_age_s - rest_s,
        published_at=contract.published_at,
        max_age_s=contract.max_age_s,
        rest_s=rest_s,
    )


def _behind(plain: Order, follower: Order, takes_s: float) -> Order:
    """The order of a build from which `follower` starts."""
    if not follower.max_age_s:
        return plain
    contract = Contract(published_at=follower.published_at, max_age_s=follower.max_age_s)
    return _bound(plain, contract, takes_s + follower.rest_s)


def _relaxed(order: Order, build: Build) -> Order:
    """With a contract only an explicit priority hurries a build more than that does."""
    is_bound_alone = order.max_age_s and build.priority <= 0
    return replace(order, patience_s=FAR_S) if is_bound_alone else order
