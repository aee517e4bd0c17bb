"""From builds to the farm: the submitter's folder, the ledger's entries, the messages."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from celery import Celery

from orchestrator.context import bundle, is_needed, written_by
from tasks.ledger import Ledger
from tasks.messages import send
from tasks.model import Build, Step, StepKind
from tasks.settings import Settings

AT_ONCE = 200


def submit(
    builds: Sequence[Build], *, ledger: Ledger, app: Celery, settings: Settings
) -> list[Build]:
    """Put `builds` on the farm; gives them as submitted, with their ids.

    Each is in the ledger before its message is sent, so whatever ends this function early, a build
    the ledger knows is built: the supervisor sends what was not sent.
    """
    with_context = bring_contexts([for_farm(build) for build in builds], ledger, settings)
    submitted: list[Build] = []
    for start in range(0, len(with_context), AT_ONCE):
        part = enter(with_context[start : start + AT_ONCE], ledger)
        with app.producer_or_acquire() as producer:
            for build in part:
                send(app, build, 1, producer=producer)
        submitted += part
    return submitted


def for_farm(build: Build) -> Build:
    """`build` with the step that only a farm has: bringing the artifacts to the store."""
    if build.steps and build.steps[-1].kind is StepKind.PUBLISH:
        return build
    publish = Step(number=len(build.steps), kind=StepKind.PUBLISH)
    return replace(build, steps=(*build.steps, publish))


def bring_contexts(builds: list[Build], ledger: Ledger, settings: Settings) -> list[Build]:
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


def enter(builds: list[Build], ledger: Ledger) -> list[Build]:
    """Write `builds` into the ledger; one whose id is taken gets another."""
    entered = with_own_ids(builds)
    waiting = entered
    while taken := set(ledger.submit(waiting)):
        others = {build.id: other_id(build) for build in waiting if build.id in taken}
        entered = [others.get(build.id, build) for build in entered]
        waiting = list(others.values())
    return entered


def with_own_ids(builds: list[Build]) -> list[Build]:
    """`builds`, where a second build of the same id has another."""
    seen: set[str] = set()
    own = []
    for build in builds:
        own.append(other_id(build) if build.id in seen else build)
        seen.add(own[-1].id)
    return own


def other_id(build: Build) -> Build:
    stem, _, _ = build.id.rpartition("-")
    return replace(build, id=f"{stem}-{secrets.token_hex(4)}")
