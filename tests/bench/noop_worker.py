"""A worker whose steps take no process and no root filesystem: what remains is the farm itself.

A step's only hook says how long it shall last: its one command is a number of seconds. Run with the
arguments of `stagefarm worker`.
"""

from __future__ import annotations

import sys
from threading import Event
from typing import Any

from celery import Celery

from orchestrator.cli import run
from tasks.app import app
from tasks.model import Build
from tasks.reporting import Line, Report
from tasks.results import StepResult
from tasks.rootfs.workspace import Workspace
from tasks.worker import performer

bare: Celery = app


@bare.task(name="bench.nothing")
def nothing() -> None:
    """A link of the bare chain that ours are compared with."""


@bare.task(name="bench.tell")
def tell(key: str) -> None:
    """The first and the last link of the bare chain: says when it ran."""
    import redis

    from tasks.settings import current

    with redis.Redis.from_url(current().broker_url()) as client:
        seconds, micros = client.time()
        client.rpush(key, seconds + micros / 1e6)


def pretend(build: Build, step: int, workspace: Workspace, report: Report, **_: Any) -> StepResult:
    for hook in build.steps[step].hooks:
        for number in range(hook.retries):  # lines to say
            report.line(Line(text=f"line {number} of a chatty hook", hook=hook.name))
        Event().wait(float(hook.commands[0]))
    return StepResult()


if __name__ == "__main__":
    performer.perform = pretend
    sys.exit(run(["worker", "--quiet", *sys.argv[1:]]))
