"""The agent: a thread in the worker's main process that answers for all its host holds.

Every few seconds it sends the ledger a heartbeat, which renews the leases, and does what the
ledger says: ends what is cancelled or no longer this host's, takes nothing new while drained or
unfit, and gives up a step whose process died. Before a worker takes its first message, the agent
ends what an earlier incarnation left running.

What may take long or hang is done beside it: removing folders (`Cleaner`) and looking at the disk
and the store (`Fitness`).
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
from tasks.host.machine import boot_id
from tasks.host.process_tree import kill_tree
from tasks.ledger.answers import ClaimedAttempt, Holder, RepeatOutcome, Requeued, RequeueOutcome
from tasks.ledger.builds import Ledger
from tasks.ledger.hosts import Hosts, Lease, Orders
from tasks.model import Build, StepKind
from tasks.rootfs.workspace import Workspace
from tasks.settings import Settings
from tasks.worker.cleaning import Cleaner
from tasks.worker.fitness import Fitness
from tasks.worker.identity import state_id
from tasks.worker.journal import Journal, Order
from tasks.worker.refusals import Refusals
from tasks.worker.verdict import Ending, How, Verdict

logger = get_logger(__name__)

LOOK_LIMIT_S = 3600.0
"""A look that takes longer hangs, and must not keep its builds from other hosts."""

REPEATABLE = (StepKind.PACK, StepKind.PUBLISH)


@dataclass(frozen=True, slots=True)
class Worker:
    """What the agent needs of the Celery worker it runs in.

    `busy` gives build and attempt of every message a pool process works on now; `send` sends a
    build's chain from a step on, to a host or (empty) to its queue; `take_new` opens or closes
    the intake of new builds.
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

    # The life of a worker

    def arrive(self) -> None:
        """Before the first message: end what an earlier incarnation left running, and say who is
        here. Its folders are removed later; no attempt uses the folder of another."""
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
        """Until the worker has ended: one look after another."""
        self.fitness.start()
        self.cleaner.start()
        threading.Thread(target=self._pulse, name="pulse", daemon=True).start()
        while not self.ended.wait(self.settings.heartbeat_s):
            try:
                self.look()
            except FarmUnreachable as error:
                if not self._away:
                    logger.warning("%s; what runs goes on", error)
                self._away = True
            except Exception:
                logger.exception("an unexpected error in the agent; it continues")

    def _pulse(self) -> None:
        """Renew the leases while a look takes long, as one does whose trees are slow to die."""
        while not self.ended.wait(self.settings.lease_s / 6):
            with suppress(FarmUnreachable):
                if monotonic() - self._looked < LOOK_LIMIT_S:
                    self._beat()

    def stop(self) -> None:
        """The worker was told to stop: running steps may end within the grace time."""
        self._stop_at = monotonic() + self.settings.stop_grace_s
        self.stopping.set()

    def leave(self) -> None:
        """No step runs any more: hand back what is still held, say good-bye, and clean up."""
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
            logger.warning("%s; the leases of this host will run out", error)
        self.cleaner.take(Workspace.all_on_farm(self.settings))
        self.cleaner.clean()

    def send_later(self, build: str, attempt: int) -> None:
        """At the next look send the messages of a build that this host could not do now."""
        self._later.add((build, attempt))

    # One look

    def look(self) -> None:
        """Send a heartbeat and act on the answer."""
        self._looked = monotonic()
        homes = Workspace.all_on_farm(self.settings)
        if self.stopping.is_set() and monotonic() > self._stop_at:
            self._order_all(homes)
        orders = self._beat()
        if self._away:
            logger.warning("the farm's Redis answers again")
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
        """Nobody works on the build: fine between two messages, but not for long."""
        key, state = (lease.build, lease.attempt), f"{lease.step} {lease.token} {lease.ended}"
        if self._suspects.get(key) != state:
            self._suspects[key] = state  # a second look tells a moment's gap from a death
        elif lease.running:
            self._take_up(lease)
        elif now - max(lease.ended, lease.claimed) > self.settings.resend_s:
            logger.warning("sending the messages of %s again", lease.build)
            self._go_on(lease, lease.step + 1)

    def _take_up(self, lease: Lease) -> None:
        """The process that ran the step is dead: the step ended if the journal says so."""
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
        """Packing and publishing change nothing that they begin from, so hours of hooks need not
        be run again for them."""
        if self.ledger.build(lease.build).steps[lease.step].kind not in REPEATABLE:
            return False
        return (
            self.ledger.allow_repeat(self._claim(lease), lease.step, lease.token)
            is not RepeatOutcome.SPENT
        )

    def _end_stale(self, leftovers: list[Path], busy: set[tuple[str, int]]) -> None:
        """The attempts are no longer this host's: tell the processes that still work on them."""
        held = {f"{build}.{attempt}" for build, attempt in busy}
        for home in leftovers:
            if home.name in held:
                order(home, Order.STALE, "this attempt was taken over")

    def _order_all(self, homes: list[Path]) -> None:
        for home in homes:
            order(home, Order.HAND_BACK, f"the worker on {self.holder.host} was told to stop")

    # Giving builds on

    def _end(self, lease: Lease, verdict: Verdict) -> StagefarmError:
        """The verdict; the next look sees that the folder is left over."""
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
            except HostUnfit as error:  # another version's build, for another host
                logger.warning("%s", error)

    def _claim(self, lease: Lease) -> ClaimedAttempt:
        return ClaimedAttempt(lease.build, lease.attempt, self.holder)

    def _home(self, lease: Lease) -> Path:
        return self.settings.state / "builds" / f"{lease.build}.{lease.attempt}"


def order(home: Path, what: Order, reason: str) -> None:
    """End the tree in `home`, once its process can read why."""
    journal = Journal(home)
    if home.is_dir() and not journal.ordered():
        journal.order(what, reason)
    kill_tree(home)
