"""Connects a Celery worker to the farm: its host queue, its agent, the end of its pool with the
main process, and its exit code."""

from __future__ import annotations

import ctypes
import signal
import threading
from typing import Any

from celery import bootsteps, signals
from celery.worker import state
from celery.worker.control import control_command

from tasks.app import app
from tasks.errors import StagefarmError
from tasks.ledger.builds import Ledger
from tasks.model import Build
from tasks.settings import current
from tasks.worker.agent import Agent, Worker
from tasks.worker.identity import begin_incarnation
from tasks.worker.messages import host_queue, send

PR_SET_PDEATHSIG = 1

NEEDLESS = {"without_gossip": True, "without_mingle": True}
"""Workers know of each other through the ledger. With gossip, each killed worker would leave a
queue `celeryev.<uuid>` in Redis."""

agents: dict[str, Agent] = {}
"""The agent of each worker in this process, by node name: Celery's signals pass no more."""

workers: list[Any] = []
failures: list[Exception] = []
"""The workers that began in this process, and the errors that ended them: Celery logs an error
during its start, keeps an exit code in its worker, and returns."""


class AgentStep(bootsteps.StartStopStep):
    """Starts the agent after the pool, before the first message is taken."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        parent.options.update(NEEDLESS)
        settings = current()
        host = str(parent.hostname).partition("@")[2]
        workers.append(parent)
        self.intake = Intake(parent, host_queue(host))
        holder = begin_incarnation(host, self.intake.queues)
        worker = Worker(self.intake.queues, parent.concurrency, busy, send_from, self.intake.open)
        self.agent = agents[parent.hostname] = Agent(
            settings, Ledger.open(settings), holder, worker
        )

    def start(self, parent: Any) -> None:
        try:
            self.agent.arrive()
            self.agent.look()
        except Exception as error:
            failures.append(error)
            raise
        threading.Thread(target=self.agent.live, name="agent", daemon=True).start()

    def stop(self, parent: Any) -> None:
        """Nothing: steps and the agent continue until the worker has shut down."""


class Intake:
    """The queues from which a worker takes new builds; the host's own queue is always open."""

    def __init__(self, worker: Any, own: str) -> None:
        self.worker = worker
        queues = worker.app.amqp.queues
        self.queues = tuple(name for name in queues.consume_from if name != own)
        queues.select_add(own, exchange=own, exchange_type="direct", routing_key=own)

    def open(self, wanted: bool) -> None:  # noqa: FBT001  # called by position, from the agent
        consumer = getattr(self.worker, "consumer", None)
        if consumer is None or consumer.task_consumer is None:
            self._before_start(wanted=wanted)
            return
        for queue in self.queues:
            if consumer.task_consumer.consuming_from(queue) != wanted:
                change = consumer.add_task_queue if wanted else consumer.cancel_task_queue
                consumer.call_soon(change, queue)

    def _before_start(self, *, wanted: bool) -> None:
        queues = self.worker.app.amqp.queues
        for queue in self.queues:
            (queues.select_add if wanted else queues.deselect)(queue)


def busy() -> set[tuple[str, int]]:
    """Build and attempt of every message that a pool process handles."""
    while True:
        try:
            return {(request.args[0], request.args[1]) for request in list(state.active_requests)}
        except RuntimeError:  # the set changed while this thread read it
            continue


def send_from(build: Build, attempt: int, first: int, host: str) -> None:
    send(app, build, attempt, first=first, host=host)


@control_command()
def take_nothing_new(state: Any) -> dict[str, str]:
    """A pool process refused a build: close the intake until the agent opens it again."""
    agents[state.hostname].worker.take_new(False)  # noqa: FBT003
    return {"ok": "not taking new builds"}


@control_command(args=[("build", str), ("attempt", int)])
def send_later(state: Any, build: str, attempt: int) -> dict[str, str]:
    """A pool process could not do a build that another host may be able to do."""
    agents[state.hostname].send_later(build, attempt)
    return {"ok": "sending it later"}


@signals.worker_process_init.connect
def die_with_the_worker(**_: Any) -> None:
    """A pool process must not outlive the main process, whose agent renews its leases."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@signals.worker_shutting_down.connect
def begin_to_stop(sender: str, **_: Any) -> None:
    if agent := agents.get(sender):
        agent.stop()


@signals.worker_shutdown.connect
def leave(sender: Any, **_: Any) -> None:
    if agent := agents.pop(sender.hostname, None):
        agent.leave()


def serve(arguments: list[str]) -> int:
    """Run `celery worker` with these arguments and return its exit code; raises the
    `StagefarmError` that ended it."""
    app.worker_main(arguments)
    for failure in failures:
        if isinstance(failure, StagefarmError):
            raise failure
    return max((int(worker.exitcode or 0) for worker in workers), default=1)


app.steps["worker"].add(AgentStep)
