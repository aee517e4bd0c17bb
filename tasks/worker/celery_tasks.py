"""The Celery tasks, one for each kind of step: convert, call, return.

A task that fails shows its error in Flower. A stale message is dropped without an error, together
with the later links of its chain.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from celery import Task
from celery.exceptions import Ignore
from celery.worker.request import Request

from tasks.app import app
from tasks.errors import StagefarmError, Stale
from tasks.ledger.builds import Ledger
from tasks.ledger.hosts import Hosts
from tasks.ledger.retrying import patient
from tasks.model import Build, StepKind
from tasks.settings import Settings, current
from tasks.worker.identity import current_incarnation
from tasks.worker.messages import rerouted, send, task_name
from tasks.worker.refusals import Refusals
from tasks.worker.step_runner import StepRunner


class HostRequest(Request):
    """Adds the host that took the message to what Flower shows."""

    @property
    def kwargsrepr(self) -> str:
        return f"{super().kwargsrepr} host={str(self.hostname).partition('@')[2]}"


class StepTask(Task):  # type: ignore[type-arg]  # not generic at run time
    Request = HostRequest  # type: ignore[assignment]  # a class works as well as its name
    throws = (StagefarmError,)
    ledger: Ledger | None = None

    def runner(self, settings: Settings) -> StepRunner:
        """The step runner of this process, which connects once."""
        self.ledger = self.ledger or patient(Ledger.open(settings))
        me, hosts = current_incarnation(), patient(Hosts(self.ledger.connection))
        return StepRunner(
            settings=settings,
            ledger=self.ledger,
            holder=me.holder,
            queues=me.queues,
            refusals=Refusals(hosts, self.ledger, me.holder.host, settings.lease_s),
            send=partial(send, app),
            send_later=self.send_later,
            send_here=partial(send, app, host=me.holder.host),
            take_nothing_new=self.take_nothing_new,
        )

    def take_nothing_new(self) -> None:
        """Stop this worker's intake of new builds; its agent starts it again."""
        self._tell("take_nothing_new")

    def send_later(self, build: Build, attempt: int) -> None:
        """Have this worker's agent send a build's messages."""
        self._tell("send_later", build=build.id, attempt=attempt)

    def _tell(self, what: str, **arguments: str | int) -> None:
        app.control.broadcast(what, arguments, destination=[str(self.request.hostname)])


def carry(task: StepTask, build: str, attempt: int, step: int) -> str:
    runner = task.runner(current())
    request: Any = task.request
    request.chain = rerouted(request.chain, runner.holder.host)
    try:
        return runner.do(build, attempt, step)
    except Stale as why:
        raise Ignore(str(why)) from why


@app.task(name=task_name(StepKind.SOURCE), bind=True, base=StepTask)
def source(self: StepTask, build: str, attempt: int, step: int) -> str:
    """Fetch and unpack the seed."""
    return carry(self, build, attempt, step)


@app.task(name=task_name(StepKind.HOOKS), bind=True, base=StepTask)
def hooks(self: StepTask, build: str, attempt: int, step: int) -> str:
    """Run one group of hooks."""
    return carry(self, build, attempt, step)


@app.task(name=task_name(StepKind.PACK), bind=True, base=StepTask)
def pack(self: StepTask, build: str, attempt: int, step: int) -> str:
    """Pack the root filesystem."""
    return carry(self, build, attempt, step)


@app.task(name=task_name(StepKind.GATE), bind=True, base=StepTask)
def gate(self: StepTask, build: str, attempt: int, step: int) -> str:
    """Test the stage that was packed."""
    return carry(self, build, attempt, step)


@app.task(name=task_name(StepKind.PUBLISH), bind=True, base=StepTask)
def publish(self: StepTask, build: str, attempt: int, step: int) -> str:
    """Copy the artifacts to the store and make them visible."""
    return carry(self, build, attempt, step)
