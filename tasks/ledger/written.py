"""What the scripts of the ledger take of a build."""

from __future__ import annotations

import json
from dataclasses import replace

from tasks import __version__
from tasks.ledger.order import Order, flow_of, order_of
from tasks.model import Build, encode


def as_added(build: Build, signatures: str, order: Order | None = None) -> list[str | int]:
    """What the scripts take of a new build."""
    order = replace(order or order_of(build), flow=flow_of(build))
    return [
        *(build.id, encode(build).decode(), build.queue, build.job, build.batch),
        *(int(build.optional), _titles(build), build.variant, build.after, __version__),
        *(signatures, build.rebuild_of, encode(order).decode()),
    ]


def as_respecified(build: Build, signatures: str) -> list[str]:
    """The fields of a build that `retry` replaces."""
    return [encode(build).decode(), build.queue, _titles(build), __version__, signatures]


def _titles(build: Build) -> str:
    return json.dumps([step.title for step in build.steps])
