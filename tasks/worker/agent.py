"""The agent: a thread in the worker's main process that answers for all its host holds.

Every few seconds it gives the ledger a sign of life, which renews the leases, and does what the
ledger says: ends what is cancelled or no longer this host's, takes nothing new while drained or
short of disk, and gives up a step whose process died. Before a worker takes its first message, the
agent ends and wipes what an earlier life left behind.
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

from celery.utils.log import get_logger

from tasks import __version__
from tasks.errors import FarmUnreachable, HostUnfit
from tasks.host.locks import is_locked, try_lock_folder
from tasks.host.machine import boot_id
from tasks.host.process_tree import kill_tree
from tasks.host.removal import remove_tree
from tasks.ledger.answers import ClaimedAttempt, Holder, RepeatOutcome, Requeued, RequeueOutcome
from tasks.ledger.builds import Ledger
from tasks.ledger.hosts import Hosts, Lease, Orders
from tasks.model import Build, StepKind
from tasks.rootfs.workspace import Workspace
from tasks.settings import Settings
from tasks.worker.fitness import unfit
from tasks.worker.identity import state_id
from tasks.worker.journal import Journal, Order

logger = get_logger(__name__)

LOOK_LIMIT_S = 3600.0
"""A look that takes longer hangs, and must not keep its builds from other hosts."""

REPEATABLE = (StepKind.PACK, StepKind.PUBLISH)


@dataclass(frozen=True, slots=True)
class Worker:
    """What the agent needs of the Celery worker it lives in.

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
    _stop_at: float = 0.0
    _suspects: dict[tuple[str, int], str] = field(default_factory=dict)
    _away: bool = False
    _looked: float = field(default_factory=monotonic)

    # The life of a worker

    def arrive(self) -> None:
        """Before the first message: wipe what an earlier life left, and say who is here."""
        self.settings.state.mkdir(parents=True, exist_ok=True)
        for home in Workspace.all_on_farm(self.settings):
            logger.warning("wiping %s, left by an earlier life of this worker", home.name)
            wipe(home)
        hosts = Hosts(self.ledger.connection)
        for requeued in hosts.register(self.holder, self.settings.attempts_max, self._info()):
            self._send_anew(requeued)

    def live(self) -> None:
        """Until the worker has ended: one look after another."""
        threading.Thread(target=self._pulse, name="pulse", daemon=True).start()
        while not self.ended.wait(self.settings.heartbeat_s):
            try:
                self.look()
            except FarmUnreachable as error:
                if not self._away:
                    logger.warning("%s; what runs goes on", error)
                self._away = True
            except Exception:
                logger.exception("the agent stumbled, and goes on")

    def _pulse(self) -> None:
        """Renew the leases while a look takes long, as one does that removes a large tree."""
        while not self.ended.wait(self.settings.lease_s / 6):
            with suppress(FarmUnreachable):
                if monotonic() - self._looked < LOOK_LIMIT_S:
                    self._beat()

    def stop(self) -> None:
        """The worker was told to stop: running steps may end within the grace time."""
        self._stop_at = monotonic() + self.settings.stop_grace_s
        self.stopping.set()

    def leave(self) -> None:
        """No step runs any more: hand back what is still held, and say good-bye."""
        self.ended.set()
        try:
            for lease in self._beat().leases:
                self._hand_back(lease)
            Hosts(self.ledger.connection).mark_left(self.holder)
        except FarmUnreachable as error:
            logger.warning("%s; the leases of this host will run out", error)

    # One look

    def look(self) -> None:
        """Give a sign of life and act on the answer."""
        self._looked = monotonic()
        homes = Workspace.all_on_farm(self.settings)
        if self.stopping.is_set() and monotonic() > self._stop_at:
            self._order_all(homes)
        orders = self._beat()
        if self._away:
            logger.warning("the farm's Redis answers again")
        self._away = False
        if not self.stopping.is_set():
            self.worker.take_new(not orders.drained and not unfit(self.settings))
        busy = self.worker.busy()
        for lease in orders.leases:
            self._look_after(lease, orders.now, busy)
        held_now = {f"{lease.build}.{lease.attempt}" for lease in orders.leases}
        for home in homes:
            if home.name not in held_now:
                self._end_stale(home, busy)

    def _beat(self) -> Orders:
        hosts = Hosts(self.ledger.connection)
        return hosts.renew_leases(self.holder, self.settings.lease_s, self._info())

    def _info(self) -> dict[str, str | int | float]:
        return {
            "queues": " ".join(self.worker.queues),
            "slots": self.worker.slots,
            "boot": boot_id(),
            "pid": os.getpid(),
            "version": __version__,
            "state": state_id(self.settings),
            "disk_free_bytes": shutil.disk_usage(self.settings.state).free,
            "refuses": unfit(self.settings),
        }

    def _look_after(self, lease: Lease, now: float, busy: set[tuple[str, int]]) -> None:
        home = self._home(lease)
        if (lease.build, lease.attempt) in busy:
            self._suspects.pop((lease.build, lease.attempt), None)
            if lease.cancel:
                order(home, Order.CANCEL, lease.cancel)
        elif lease.cancel:
            wipe(home)
            self.ledger.cancelled(self._claim(lease))
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
        reason = f"the worker's process died in step {lease.step}"
        logger.warning("%s of %s", reason, lease.build)
        if self._may_go_again(lease):
            self._go_on(lease, lease.step)
            return
        wipe(home)
        self._send_anew(self.ledger.lose(self._claim(lease), reason, self.settings.attempts_max))

    def _may_go_again(self, lease: Lease) -> bool:
        """Packing and publishing change nothing that they begin from, so hours of hooks need not
        be run again for them."""
        if self.ledger.build(lease.build).steps[lease.step].kind not in REPEATABLE:
            return False
        return (
            self.ledger.allow_repeat(self._claim(lease), lease.step, lease.token)
            is not RepeatOutcome.SPENT
        )

    def _end_stale(self, home: Path, busy: set[tuple[str, int]]) -> None:
        """The build is no longer this host's: end its tree, and wipe unless its process does."""
        build, _, attempt = home.name.rpartition(".")
        if (build, int(attempt)) in busy:
            order(home, Order.STALE, "this attempt was taken over")
        elif not is_locked(home):
            wipe(home)

    def _order_all(self, homes: list[Path]) -> None:
        for home in homes:
            order(home, Order.HAND_BACK, f"the worker on {self.holder.host} was told to stop")

    # Giving builds on

    def _hand_back(self, lease: Lease) -> None:
        wipe(self._home(lease))
        reason = f"the worker on {self.holder.host} was told to stop"
        limit = self.settings.attempts_max
        self._send_anew(self.ledger.hand_back(self._claim(lease), reason, limit))

    def _go_on(self, lease: Lease, step: int) -> None:
        build = self.ledger.build(lease.build)
        self.worker.send(build, lease.attempt, step, self.holder.host)

    def _send_anew(self, requeued: Requeued) -> None:
        if requeued.outcome is RequeueOutcome.QUEUED:
            try:
                self.worker.send(self.ledger.build(requeued.build), requeued.attempt, 0, "")
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


def wipe(home: Path) -> None:
    """End what runs in `home` and remove it, unless somebody works on it."""
    if not home.is_dir():
        return
    kill_tree(home)
    with try_lock_folder(home) as mine:
        if mine:
            remove_tree(home)
