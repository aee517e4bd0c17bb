"""Retries an ended build: from the start or from a checkpoint, as it was or respecified."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from uuid import uuid4

from celery import Celery

from orchestrator.farm.signing import known_job, sign_all
from orchestrator.farm.submit import bring_contexts, is_blocked
from orchestrator.inputs.freezing import frozen_again
from orchestrator.planning.prepare import render_again
from tasks.artifacts.fingerprint import difference, usable
from tasks.errors import BadInput
from tasks.ledger.builds import Ledger, not_ended
from tasks.model import Build
from tasks.results import Checkpoint
from tasks.settings import Settings
from tasks.worker.messages import send

LAST = "last"


@dataclass(frozen=True, slots=True)
class Retry:
    """A queued retry: its attempt, the number of its first step (0 without a checkpoint), and
    whether it waits for the build that it starts from."""

    build: Build
    attempt: int
    step: int
    blocked: bool


def retry(
    build_id: str,
    *,
    start: str | None,
    respecified: bool,
    ledger: Ledger,
    settings: Settings,
) -> Retry:
    """Queue an ended build again, for `send_all` to send; with `start` (number of a step, from 1,
    or `last`) from the newest checkpoint before that step. With `respecified` its specfile, hook
    files and folder are read again. It is verified and signed anew.

    `BadInput` if it has not ended, no checkpoint matches, something before the checkpoint has
    changed, or the folder it was submitted from is no longer kept.
    """
    known = known_job(build_id, ledger, settings).build
    if not ledger.record(build_id).state.ended:
        raise not_ended(build_id)
    if not known.rebuild_of:
        known = replace(known, not_by="")  # of its second try: any host may build it again
    build = _respecified(known, ledger, settings) if respecified else known
    point, step = _point(known, build, start, ledger) if start else ("", 0)
    if not respecified and known.context and not ledger.touch_context(known.context):
        raise BadInput(
            f"the folder {build_id} was submitted from is no longer kept",
            "submit it as a new build",
        )
    (build,), signatures = sign_all([build], settings)
    attempt = ledger.retry(
        build_id, uuid4().hex, point=point, respecified=build, signatures=signatures[build_id]
    )
    return Retry(build, attempt, step, is_blocked(build, ledger))


def _respecified(known: Build, ledger: Ledger, settings: Settings) -> Build:
    """The build from the files as they are now, or as they are now in its repositories; from the
    same seed, if its night has pinned that."""
    with frozen_again(known, settings) as found:
        build = render_again(known, found.inputs if found else ())
        (brought,) = bring_contexts([replace(build, after=known.after)], ledger, settings)
    if brought.source != known.as_written:
        return brought
    return replace(brought, source=known.source, as_written=known.as_written)


def send_all(retried: Collection[Retry], app: Celery) -> None:
    """Send the builds that are not blocked. Call it once all are queued: else the first build of a
    chain could fail again before the builds that start from it are blocked."""
    for one in retried:
        if not one.blocked:
            send(app, one.build, one.attempt)


def _point(known: Build, build: Build, start: str, ledger: Ledger) -> tuple[str, int]:
    """The ledger's key of the checkpoint to resume from, and the number of the step after it."""
    wanted = _before(build, start)
    kept = usable(known, ledger.checkpoints(build.id))
    earlier = {point: one for point, one in kept.items() if one.step < wanted}
    if not earlier:
        raise BadInput(_none(build, start), _which(kept.values()))
    point = max(earlier, key=lambda point: (earlier[point].step, _attempt(point)))
    _require_same(known, build, earlier[point], kept)
    return point, earlier[point].step + 1


def _before(build: Build, start: str) -> int:
    """The step, counted from 0, before which the checkpoint must be."""
    count = len(build.steps)
    if start == LAST:
        return count
    if start.isdecimal() and 1 <= int(start) <= count:
        return int(start) - 1
    raise BadInput(
        f"{build.id} has no step {start!r}",
        f"give a number from 1 to {count}, see `stagefarm status {build.id}`, or {LAST}",
    )


def _attempt(point: str) -> int:
    return int(point.partition(".")[0])


def _none(build: Build, start: str) -> str:
    return f"{build.id} has no checkpoint" + ("" if start == LAST else f" before step {start}")


def _which(kept: Collection[Checkpoint]) -> str:
    found = sorted({one.step + 1 for one in kept})
    if not found:
        return (
            "set `checkpoint: true` in the job or a hook file; without --from all steps run again"
        )
    steps = ", ".join(map(str, found))
    return f"there are some after step {steps}: --from {found[0] + 1} or later, or --from {LAST}"


def _require_same(
    known: Build, build: Build, chosen: Checkpoint, kept: dict[str, Checkpoint]
) -> None:
    """`BadInput` if anything that led to the checkpoint has changed."""
    if not (what := difference(known, build, chosen.step)):
        return
    earlier = [one.step for one in kept.values() if not difference(known, build, one.step)]
    hint = f"--from {max(earlier) + 2}" if earlier else "without --from all steps run again"
    raise BadInput(
        f"{what} of {build.id} has changed since the checkpoint after step {chosen.step + 1}",
        hint,
    )
