"""Submits builds to the farm: the bundled folder, the ledger's records, the messages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from celery import Celery

from orchestrator.farm.context import (
    IGNORE_FILES,
    OWN_IGNORE_FILE,
    bundle,
    is_needed,
    written_by,
)
from orchestrator.farm.contracts import find_orders
from orchestrator.farm.orders import by_latest
from orchestrator.farm.signing import sign_all
from orchestrator.planning.dependencies import levels
from tasks.errors import StagefarmError
from tasks.ledger.builds import Ledger
from tasks.ledger.order import Order
from tasks.model import Build, BuildState
from tasks.settings import Settings
from tasks.worker.messages import send

AT_ONCE = 200


def submit(
    builds: Sequence[Build], *, ledger: Ledger, app: Celery, settings: Settings
) -> list[Build]:
    """Submit `builds`, planned for a farm, and return them as submitted.

    Each is in the ledger before its message is sent, so a build in the ledger is built even if
    this function is interrupted: the supervisor sends the missing messages.
    """
    submitted: list[Build] = []
    orders = find_orders(builds, ledger, settings)
    ready = by_latest(bring_contexts(builds, ledger, settings), orders)
    for planned in _parts(ready):
        part = enter(planned, orders, ledger, settings)
        with app.producer_or_acquire() as producer:
            for build in part:
                if not is_blocked(build, ledger):
                    send(app, build, 1, producer=producer)
        submitted += part
    return submitted


def is_blocked(build: Build, ledger: Ledger) -> bool:
    """Whether the build must wait for the one it starts from, whose end sends it."""
    return bool(build.after) and ledger.record(build.id).state is BuildState.BLOCKED


def _parts(builds: list[Build]) -> Iterator[list[Build]]:
    """`builds` in parts of at most AT_ONCE, each after the builds that it starts from."""
    for level in levels(builds):
        yield from (level[start : start + AT_ONCE] for start in range(0, len(level), AT_ONCE))


def bring_contexts(builds: Sequence[Build], ledger: Ledger, settings: Settings) -> list[Build]:
    """Bundle each folder that builds need, once; returns the builds with their bundle's digest."""
    digests: dict[str, str] = {}
    for folder in {build.folder for build in builds if is_needed(build)}:
        leave_out = {
            path for build in builds if build.folder == folder for path in written_by(build)
        }
        # Of a repository all is sent that is in it, though git would ignore it if it were new.
        is_ours = any(build.folder == folder and not build.inputs for build in builds)
        ignore_files = IGNORE_FILES if is_ours else (OWN_IGNORE_FILE,)
        made = bundle(Path(folder), leave_out, settings.context_limit_bytes, ignore_files)
        ledger.keep_context(made.digest, made.data)
        digests[folder] = made.digest
    return [
        replace(build, context=digests[build.folder] if is_needed(build) else "")
        for build in builds
    ]


def enter(
    builds: Sequence[Build], orders: Mapping[str, Order], ledger: Ledger, settings: Settings
) -> list[Build]:
    """Sign `builds` and write them to the ledger; returns them as signed. `StagefarmError` if an id
    belongs to another build."""
    done, signatures = sign_all(builds, settings)
    if taken := ledger.submit(done, signatures, orders):
        raise StagefarmError(f"another build already has the id {taken[0]}", "submit again")
    return done
