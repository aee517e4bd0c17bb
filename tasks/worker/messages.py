"""The messages of a build: one chain whose links carry build, attempt and step number only.

What a person reads in Flower stands beside them: a task's id says build, attempt and step, and its
arguments are shown with job, arch and subarch. The worker that takes it adds its host.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import kombu.exceptions
from celery import Celery, chain
from celery.canvas import Signature

from tasks.app import PRIORITIES
from tasks.errors import FarmUnreachable
from tasks.model import Build, Step, StepKind

HOST_PRIORITY = 0
"""What a host began comes before all that is new."""

IMPATIENT = {"max_retries": 3, "interval_start": 0.1, "interval_step": 0.2, "interval_max": 0.5}


def task_name(kind: StepKind) -> str:
    return f"stagefarm.{kind}"


def host_queue(host: str) -> str:
    return f"host.{host}"


def task_id(build: str, attempt: int, step: Step) -> str:
    """`<build>.<attempt>.<nn>-<kind>`: readable, and the same for a message sent twice."""
    return f"{build}.{attempt}.{step.number:02}-{step.kind}"


def first_priority(build: Build) -> int:
    """For the first message: from 9, last, for 0 and below, to 1 for 8 and above."""
    return PRIORITIES - 1 - min(max(build.priority, 0), PRIORITIES - 2)


def send(
    app: Celery,
    build: Build,
    attempt: int,
    *,
    first: int = 0,
    host: str = "",
    producer: Any = None,
) -> None:
    """Send the chain from step `first` on, to the build's queue, or to `host`'s own.

    Raises `FarmUnreachable` soon; the supervisor sends again what the ledger knows as queued.
    """
    links = [link(app, build, attempt, step, host) for step in build.steps[first:]]
    try:
        chain(*links, app=app).apply_async(producer=producer, retry_policy=IMPATIENT)
    except kombu.exceptions.OperationalError as error:
        raise FarmUnreachable(f"cannot send the messages of {build.id}: {error}") from error


def link(app: Celery, build: Build, attempt: int, step: Step, host: str) -> Signature[Any]:
    return app.signature(
        task_name(step.kind),
        args=(build.id, attempt, step.number),
        immutable=True,
        task_id=task_id(build.id, attempt, step),
        queue=host_queue(host) if host else build.queue,
        priority=HOST_PRIORITY if host else first_priority(build),
        argsrepr=described(build, attempt, step),
        kwargsrepr=f"arch={build.arch} subarch={build.subarch}",
    )


def described(build: Build, attempt: int, step: Step) -> str:
    """What Flower shows as a task's arguments: what tells tasks apart comes first, for it cuts
    them short in its table."""
    place = f"step={step.number + 1}/{len(build.steps)} {step.title}"
    return f"{build.id} {place}, job={build.job} attempt={attempt}"


def backlog(app: Celery, queue: str) -> int:
    """How many messages lie in `queue`, of every priority."""
    with app.connection_for_read() as connection:
        channel: Any = connection.default_channel
        return int(channel._size(queue))  # noqa: SLF001  # kombu asks no other way without declaring


def rerouted(links: Sequence[Mapping[str, Any]] | None, host: str) -> list[dict[str, Any]]:
    """The links of a chain, all to `host`'s own queue: there the root filesystem is."""
    to_host = {"queue": host_queue(host), "priority": HOST_PRIORITY}
    return [{**link, "options": {**link["options"], **to_host}} for link in links or ()]
