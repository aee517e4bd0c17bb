"""From builds to the farm: the submitter's folder, the ledger's entries, the messages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from celery import Celery

from orchestrator.farm.context import bundle, is_needed, written_by
from orchestrator.planning.dependencies import levels
from tasks.errors import StagefarmError
from tasks.ledger.builds import Ledger
from tasks.model import Build, BuildState
from tasks.settings import Settings
from tasks.worker.messages import send

AT_ONCE = 200


def submit(
    builds: Sequence[Build], *, ledger: Ledger, app: Celery, settings: Settings
) -> list[Build]:
    """Put `builds`, planned for a farm, on it; gives them as submitted.

    Each is in the ledger before its message is sent, so whatever ends this function early, a build
    the ledger knows is built: the supervisor sends what was not sent.
    """
    submitted: list[Build] = []
    for part in _parts(bring_contexts(builds, ledger, settings)):
        enter(part, ledger)
        with app.producer_or_acquire() as producer:
            for build in part:
                if not is_blocked(build, ledger):
                    send(app, build, 1, producer=producer)
        submitted += part
    return submitted


def is_blocked(build: Build, ledger: Ledger) -> bool:
    """Whether the build has to wait for the one it starts from; that one's end sends it."""
    return bool(build.after) and ledger.record(build.id).state is BuildState.BLOCKED


def _parts(builds: list[Build]) -> Iterator[list[Build]]:
    """`builds` in handy parts, each behind those that its builds start from."""
    for level in levels(builds):
        yield from (level[start : start + AT_ONCE] for start in range(0, len(level), AT_ONCE))


def bring_contexts(builds: Sequence[Build], ledger: Ledger, settings: Settings) -> list[Build]:
    """Bundle each folder that builds need once, and say which bundle is whose."""
    digests: dict[str, str] = {}
    for folder in {build.folder for build in builds if is_needed(build)}:
        leave_out = {
            path for build in builds if build.folder == folder for path in written_by(build)
        }
        made = bundle(Path(folder), leave_out, settings.context_limit_bytes)
        ledger.keep_context(made.digest, made.data)
        digests[folder] = made.digest
    return [
        replace(build, context=digests[build.folder] if is_needed(build) else "")
        for build in builds
    ]


def enter(builds: Sequence[Build], ledger: Ledger) -> None:
    """Write `builds` into the ledger; `StagefarmError` if an id is taken by another build."""
    if taken := ledger.submit(builds):
        raise StagefarmError(f"another build has the id {taken[0]}", "submit again")
