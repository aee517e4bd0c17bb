"""The messages of a build: one chain whose links carry build, attempt and step number only.

For Flower, a task's id contains build, attempt and step, and its displayed arguments add job, arch
and subarch. The worker that takes the message adds its host.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import kombu.exceptions
import msgspec
from celery import Celery, chain
from celery.canvas import Signature
from kombu.transport.redis import Channel

from tasks.app import PRIORITIES
from tasks.errors import FarmUnreachable
from tasks.ledger.connection import Connection
from tasks.model import Build, Step, StepKind

HOST_PRIORITY = 0
"""Builds that a host has claimed come before new ones."""

PAGE = 1000
"""How many messages are read at once."""

IMPATIENT = {"max_retries": 3, "interval_start": 0.1, "interval_step": 0.2, "interval_max": 0.5}


def task_name(kind: StepKind) -> str:
    return f"stagefarm.{kind}"


def host_queue(host: str) -> str:
    return f"host.{host}"


def task_id(build: str, attempt: int, step: Step) -> str:
    """`<build>.<attempt>.<nn>-<kind>`: readable, and the same for a message sent twice."""
    return f"{build}.{attempt}.{step.number:02}-{step.kind}"


_TASK_ID = re.compile(r"(.+)\.([0-9]+)\.[0-9]+-[a-z]+")


class _Headers(msgspec.Struct):
    id: str


class _Message(msgspec.Struct):
    """The part of a message in Redis that identifies its task."""

    headers: _Headers


def first_priority(build: Build) -> int:
    """For the first message: from 9 (last) for 0 and below, to 1 for 8 and above."""
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
    """Send the chain, starting with step `first`, to the build's queue or to `host`'s own.

    Raises `FarmUnreachable` within seconds; the supervisor sends the messages of queued builds
    again.
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
    """What Flower shows as a task's arguments. What distinguishes tasks comes first, because Flower
    truncates them in its table."""
    place = f"step={step.number + 1}/{len(build.steps)} {step.title}"
    return f"{build.id} {place}, job={build.job} attempt={attempt}"


def attempts_in(connection: Connection, queue: str) -> set[tuple[str, int]]:
    """Build and attempt of every message that lies in `queue`.

    Celery adds messages at the head of a list and takes them from its end, so reading pages from
    the head misses none while messages come and go.
    """
    found: set[tuple[str, int]] = set()
    lists, start = _lists(connection, queue), 0
    while lists:
        pipeline = connection.client.pipeline(transaction=False)
        for name in lists:
            pipeline.lrange(name, start, start + PAGE - 1)
        pages = connection.run(pipeline)
        found.update(read for page in pages for text in page if (read := _attempt_of(text)))
        lists = [name for name, page in zip(lists, pages, strict=True) if len(page) == PAGE]
        start += PAGE
    return found


def _lists(connection: Connection, queue: str) -> list[str]:
    """The keys in which the Redis transport keeps the messages of `queue`, one per priority."""
    priorities = ["", *(f"{Channel.sep}{priority}" for priority in range(1, PRIORITIES))]
    return [connection.key("celery", queue + priority) for priority in priorities]


def _attempt_of(message: str) -> tuple[str, int] | None:
    """Build and attempt of a message; None if it is not one of ours."""
    try:
        task = msgspec.json.decode(message, type=_Message).headers.id
    except msgspec.MsgspecError:
        return None
    found = _TASK_ID.fullmatch(task)
    return (found[1], int(found[2])) if found else None


def rerouted(links: Sequence[Mapping[str, Any]] | None, host: str) -> list[dict[str, Any]]:
    """The links of a chain, all to the own queue of `host`, which has the root filesystem."""
    to_host = {"queue": host_queue(host), "priority": HOST_PRIORITY}
    return [{**link, "options": {**link["options"], **to_host}} for link in links or ()]
