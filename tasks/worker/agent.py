"""The agent: a thread in the worker's main process that is responsible for all builds on its host.

Every few seconds it sends the ledger a heartbeat, which renews the leases, and acts on the answer:
it kills what is cancelled or no longer this host's, takes no new builds while the host is drained
or unfit, and gives up a step whose process died. Before a worker takes its first message, the agent
kills what an earlier incarnation left running.

Work that may take long or hang runs in other threads: removing folders (`Cleaner`) and checking the
disk and the store (`Fitness`).
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import msgspec
from celery.utils.log import get_logger

from tasks import __version__
from tasks.errors import (
    BuildCancelled,
    FarmUnreachable,
    HostUnfit,
    StagefarmError,
    Stale,
    StepKilled,
)
from tasks.host.locks import is_locked
from tasks.host.machine import boot_id
from tasks.host.process_tree import kill_tree
from tasks.ledger.answers import ClaimedAttempt, Holder, RepeatOutcome, Requeued, RequeueOutcome
from tasks.ledger.builds import Ledger
from tasks.ledger.hosts import Hosts, Lease, Orders
from tasks.model import Build
from tasks.rootfs.workspace import Workspace
from tasks.settings import Settings
from tasks.worker.cleaning import Cleaner
from tasks.worker.fitness import Fitness
from tasks.worker.identity import state_id
from tasks.worker.jobs import kept_job
from tasks.worker.journal import Journal, Order
from tasks.worker.refusals import Refusals
from tasks.worker.verdict import Ending, How, Verdict
from tasks.worker.work import REPEATABLE

logger = get_logger(__name__)

LOOK_LIMIT_S = 3600.0
"""A pass that takes longer is stuck; its builds must then be free for other hosts."""


@dataclass(frozen=True, slots=True)
class Worker:
    """What the agent needs from its Celery worker.

    `busy` returns build and attempt of every message that a pool process handles now; `send` sends
    a build's chain, starting with a step, to a host or (empty) to its queue; `take_new` opens or
    closes the intake of new builds.
    """

    queues: tuple[str, ...]
    slots: int
    busy: Callable[[], set[tuple[str, int]]]
    send: Callable[[Build, int, int, str], None]
    take_new: Callable[[bool], None]


@dataclass(slots=True)
class Agent:
    settings: Settings
    ledger: Ledger
    holder: Holder
    worker: Worker
    stopping: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    cleaner: Cleaner = field(default_factory=Cleaner)
    fitness: Fitness = field(init=False)
    _state: str = ""
    _later: set[tuple[str, int]] = field(default_factory=set)
    _stop_at: float = 0.0
    _suspects: dict[tuple[str, int], str] = field(default_factory=dict)
    _away: bool = False
    _looked: float = field(default_factory=monotonic)

    def __post_init__(self) -> None:
        self.fitness = Fitness(self.settings)

    # Start and stop of a worker

    def arrive(self) -> None:
        """Before the first message: kill what an earlier incarnation left running, and register
        the host. The folders are removed later; no attempt uses the folder of another."""
        self._state = state_id(self.settings)
        for home in Workspace.all_on_farm(self.settings):
            logger.warning("removing %s, left by an earlier run of this worker", home.name)
            kill_tree(home)
        self.fitness.look()
        hosts = Hosts(self.ledger.connection)
        hosts.say_fit(self.holder.host)
        for requeued in hosts.register(self.holder, self.settings.attempts_max, self._info()):
            self._send_anew(requeued)

    def live(self) -> None:
        """Run one pass after another until the worker has ended."""
        self.fitness.start()
        self.cleaner.start()
        threading.Thread(target=self._pulse, name="pulse", daemon=True).start()
        while not self.ended.wait(self.settings.heartbeat_s):
            try:
                self.look()
            except FarmUnreachable as error:
                if not self._away:
                    logger.warning("%s; running steps continue", error)
                self._away = True
            except Exception:
                logger.exception("unexpected error in the agent, which continues")

    def _pulse(self) -> None:
        """Renew the leases while a pass takes long, for instance because processes end slowly."""
        while not self.ended.wait(self.settings.lease_s / 6):
            with suppress(FarmUnreachable):
                if monotonic() - self._looked < LOOK_LIMIT_S:
                    self._beat()

    def stop(self) -> None:
        """The worker was told to stop: running steps have the grace time to end."""
        self._stop_at = monotonic() + self.settings.stop_grace_s
        self.stopping.set()

    def leave(self) -> None:
        """No step is running: hand back the builds still held, deregister, and clean up."""
        self.ended.set()
        self.fitness.stop()
        self.cleaner.stop()
        reason = Stale(f"the worker on {self.holder.host} was told to stop")
        try:
            for lease in self._beat().leases:
                self._end(lease, Verdict(How.HANDED_BACK, reason))
            self._send_what_waits()
            Hosts(self.ledger.connection).mark_left(self.holder)
        except FarmUnreachable as error:
            logger.warning("%s; the leases of this host will expire", error)
        self.cleaner.take(Workspace.all_on_farm(self.settings))
        self.cleaner.clean()

    def send_later(self, build: str, attempt: int) -> None:
        """Send the messages of a build that this host cannot do now, in the next pass."""
        self._later.add((build, attempt))

    # One pass

    def look(self) -> None:
        """Send a heartbeat and act on the answer."""
        self._looked = monotonic()
        homes = Workspace.all_on_farm(self.settings)
        if self.stopping.is_set() and monotonic() > self._stop_at:
            self._order_all(homes)
        orders = self._beat()
        if self._away:
            logger.warning("the farm's Redis is back")
        self._away = False
        if not self.stopping.is_set():
            self.worker.take_new(not orders.drained and not self.fitness.reason)
        self._send_what_waits()
        busy = self.worker.busy()
        for lease in orders.leases:
            self._look_after(lease, orders.now, busy)
        held = {self._home(lease) for lease in orders.leases}
        leftovers = [home for home in homes if home not in held]
        self._end_stale(leftovers, busy)
        self.cleaner.take(leftovers)

    def _beat(self) -> Orders:
        hosts = Hosts(self.ledger.connection)
        orders = hosts.renew_leases(self.holder, self.settings.lease_s, self._info())
        self.fitness.hear(orders.now)
        return orders

    def _info(self) -> dict[str, str | int | float]:
        return {
            "queues": " ".join(self.worker.queues),
            "slots": self.worker.slots,
            "boot": boot_id(),
            "pid": os.getpid(),
            "version": __version__,
            "state": self._state,
            "disk_free_bytes": self._disk_free_bytes(),
            "refuses": self.fitness.reason,
            "cleaning": msgspec.json.encode(self.cleaner.stuck()).decode(),
        }

    def _disk_free_bytes(self) -> int:
        with suppress(OSError):
            return shutil.disk_usage(self.settings.state).free
        return 0

    def _look_after(self, lease: Lease, now: float, busy: set[tuple[str, int]]) -> None:
        home = self._home(lease)
        if (lease.build, lease.attempt) in busy:
            self._suspects.pop((lease.build, lease.attempt), None)
            if lease.cancel:
                order(home, Order.CANCEL, lease.cancel)
        elif lease.cancel:
            self._end(lease, Verdict(How.CANCELLED, BuildCancelled(lease.cancel)))
        elif not self.stopping.is_set():
            self._look_after_idle(lease, now)

    def _look_after_idle(self, lease: Lease, now: float) -> None:
        """No process handles the build: normal between two messages, but not for long."""
        key, state = (lease.build, lease.attempt), f"{lease.step} {lease.token} {lease.ended}"
        if self._suspects.get(key) != state:
            self._suspects[key] = state  # a dead process is still missing in the next pass
        elif lease.running:
            if not is_locked(self._home(lease)):  # else a process began it, and `busy` is late
                self._take_up(lease)
        elif now - max(lease.ended, lease.claimed) > self.settings.resend_s:
            logger.warning("sending the messages of %s again", lease.build)
            self._go_on(lease, lease.step + 1)

    def _take_up(self, lease: Lease) -> None:
        """The process that ran the step died; the journal says whether the step had ended."""
        home = self._home(lease)
        self._suspects.pop((lease.build, lease.attempt), None)
        kill_tree(home)
        if result := Journal(home).result(lease.step):
            self.ledger.end_step(self._claim(lease), lease.step, result)
            self._go_on(lease, lease.step + 1)
            return
        if error := Journal(home).failure():
            self._end(lease, Verdict(How.FAILED, error))
            return
        reason = f"the worker's process died in step {lease.step}"
        logger.warning("%s of %s", reason, lease.build)
        if self._may_go_again(lease):
            self._go_on(lease, lease.step)
            return
        self._end(lease, Verdict(How.LOST, StepKilled(reason)))

    def _may_go_again(self, lease: Lease) -> bool:
        """Whether the step is repeatable, and was not repeated before."""
        with suppress(HostUnfit, IndexError):
            if kept_job(self._home(lease)).build.steps[lease.step].kind in REPEATABLE:
                allowed = self.ledger.allow_repeat(self._claim(lease), lease.step, lease.token)
                return allowed is not RepeatOutcome.SPENT
        return False

    def _end_stale(self, leftovers: list[Path], busy: set[tuple[str, int]]) -> None:
        """Stop the processes that still work on attempts which are no longer this host's."""
        held = {f"{build}.{attempt}" for build, attempt in busy}
        for home in leftovers:
            if home.name in held:
                order(home, Order.STALE, "this attempt was taken over")

    def _order_all(self, homes: list[Path]) -> None:
        for home in homes:
            order(home, Order.HAND_BACK, f"the worker on {self.holder.host} was told to stop")

    # Returning builds

    def _end(self, lease: Lease, verdict: Verdict) -> StagefarmError:
        """Record the verdict; the next pass finds the leftover folder."""
        hosts, host = Hosts(self.ledger.connection), self.holder.host
        refusals = Refusals(hosts, self.ledger, host, self.settings.lease_s)
        ending = Ending(self.settings, self.ledger, refusals, self._send_to_queue)
        return ending.end(self._claim(lease), self._home(lease), verdict)

    def _send_to_queue(self, build: Build, attempt: int) -> None:
        self.worker.send(build, attempt, 0, "")

    def _send_what_waits(self) -> None:
        while self._later:
            build, attempt = waiting = next(iter(self._later))
            self._send_to_queue(self.ledger.build(build), attempt)
            self._later.discard(waiting)

    def _go_on(self, lease: Lease, step: int) -> None:
        build = self.ledger.build(lease.build)
        self.worker.send(build, lease.attempt, step, self.holder.host)

    def _send_anew(self, requeued: Requeued) -> None:
        if requeued.outcome is RequeueOutcome.QUEUED:
            try:
                self._send_to_queue(self.ledger.build(requeued.build), requeued.attempt)
            except HostUnfit as error:  # written by another version: another host can build it
                logger.warning("%s", error)

    def _claim(self, lease: Lease) -> ClaimedAttempt:
        return ClaimedAttempt(lease.build, lease.attempt, self.holder)

    def _home(self, lease: Lease) -> Path:
        return Workspace.home_on_farm(lease.build, lease.attempt, self.settings)


def order(home: Path, what: Order, reason: str) -> None:
    """Write the order to the journal, so that the step knows why, then kill the tree in `home`."""
    journal = Journal(home)
    if home.is_dir() and not journal.ordered():
        journal.order(what, reason)
    kill_tree(home)
