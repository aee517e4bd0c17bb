"""From builds to the farm: the submitter's folder, the ledger's entries, the messages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from celery import Celery

from orchestrator.chains import levels, other_id, with_own_ids
from orchestrator.context import bundle, is_needed, written_by
from tasks.ledger import Ledger
from tasks.messages import send
from tasks.model import Build, BuildState, Step, StepKind
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
    ids: dict[str, str] = {}  # as planned, to as entered
    for planned in _parts(with_context):
        part = enter([replace(one, after=ids.get(one.after, one.after)) for one in planned], ledger)
        ids |= {one.id: entered.id for one, entered in zip(planned, part, strict=True)}
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
    for level in levels(with_own_ids(builds)):
        yield from (level[start : start + AT_ONCE] for start in range(0, len(level), AT_ONCE))


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
    entered = waiting = builds
    while taken := set(ledger.submit(waiting)):
        others = {build.id: other_id(build) for build in waiting if build.id in taken}
        entered = [others.get(build.id, build) for build in entered]
        waiting = list(others.values())
    return entered
