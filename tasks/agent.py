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
from tasks.alone import state_id
from tasks.errors import FarmUnreachable
from tasks.farmhand import unfit
from tasks.hosts import Held, Hosts, Orders
from tasks.journal import Journal, Order
from tasks.ledger import Again, Fate, Given, Holder, Ledger, Turn
from tasks.model import Build, StepKind
from tasks.removal import remove_tree
from tasks.settings import Settings
from tasks.workspace import Workspace, is_in_use, kill_tree, locked

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
        for given in hosts.arrive(self.holder, self.settings.attempts_max, self._info()):
            self._send_anew(given)

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
            for held in self._beat().held:
                self._hand_back(held)
            Hosts(self.ledger.connection).leave(self.holder)
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
        for held in orders.held:
            self._look_after(held, orders.now, busy)
        held_now = {f"{held.build}.{held.attempt}" for held in orders.held}
        for home in homes:
            if home.name not in held_now:
                self._end_stale(home, busy)

    def _beat(self) -> Orders:
        hosts = Hosts(self.ledger.connection)
        return hosts.beat(self.holder, self.settings.lease_s, self._info())

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

    def _look_after(self, held: Held, now: float, busy: set[tuple[str, int]]) -> None:
        home = self._home(held)
        if (held.build, held.attempt) in busy:
            self._suspects.pop((held.build, held.attempt), None)
            if held.cancel:
                order(home, Order.CANCEL, held.cancel)
        elif held.cancel:
            wipe(home)
            self.ledger.cancelled(self._turn(held))
        elif not self.stopping.is_set():
            self._look_after_idle(held, now)

    def _look_after_idle(self, held: Held, now: float) -> None:
        """Nobody works on the build: fine between two messages, but not for long."""
        key, state = (held.build, held.attempt), f"{held.step} {held.token} {held.ended}"
        if self._suspects.get(key) != state:
            self._suspects[key] = state  # a second look tells a moment's gap from a death
        elif held.running:
            self._take_up(held)
        elif now - max(held.ended, held.claimed) > self.settings.resend_s:
            logger.warning("sending the messages of %s again", held.build)
            self._go_on(held, held.step + 1)

    def _take_up(self, held: Held) -> None:
        """The process that ran the step is dead: the step ended if the journal says so."""
        home = self._home(held)
        self._suspects.pop((held.build, held.attempt), None)
        kill_tree(home)
        if result := Journal(home).result(held.step):
            self.ledger.end_step(self._turn(held), held.step, result)
            self._go_on(held, held.step + 1)
            return
        reason = f"the worker's process died in step {held.step}"
        logger.warning("%s of %s", reason, held.build)
        if self._may_go_again(held):
            self._go_on(held, held.step)
            return
        wipe(home)
        self._send_anew(self.ledger.lose(self._turn(held), reason, self.settings.attempts_max))

    def _may_go_again(self, held: Held) -> bool:
        """Packing and publishing change nothing that they begin from, so hours of hooks need not
        be run again for them."""
        if self.ledger.build(held.build).steps[held.step].kind not in REPEATABLE:
            return False
        return self.ledger.again(self._turn(held), held.step, held.token) is not Again.SPENT

    def _end_stale(self, home: Path, busy: set[tuple[str, int]]) -> None:
        """The build is no longer this host's: end its tree, and wipe unless its process does."""
        build, _, attempt = home.name.rpartition(".")
        if (build, int(attempt)) in busy:
            order(home, Order.STALE, "this attempt was taken over")
        elif not is_in_use(home):
            wipe(home)

    def _order_all(self, homes: list[Path]) -> None:
        for home in homes:
            order(home, Order.HAND_BACK, f"the worker on {self.holder.host} was told to stop")

    # Giving builds on

    def _hand_back(self, held: Held) -> None:
        wipe(self._home(held))
        reason = f"the worker on {self.holder.host} was told to stop"
        limit = self.settings.attempts_max
        self._send_anew(self.ledger.hand_back(self._turn(held), reason, limit))

    def _go_on(self, held: Held, step: int) -> None:
        build = self.ledger.build(held.build)
        self.worker.send(build, held.attempt, step, self.holder.host)

    def _send_anew(self, given: Given) -> None:
        if given.fate is Fate.QUEUED:
            self.worker.send(self.ledger.build(given.build), given.attempt, 0, "")

    def _turn(self, held: Held) -> Turn:
        return Turn(held.build, held.attempt, self.holder)

    def _home(self, held: Held) -> Path:
        return self.settings.state / "builds" / f"{held.build}.{held.attempt}"


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
    with locked(home) as mine:
        if mine:
            remove_tree(home)


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
