"""Removing the folders of attempts that are over.

Nothing waits for it: the ledger has the verdict before. A folder that cannot be removed (something
is mounted in it, a file in it is busy) is retried with backoff and shown by `workers` and `why`
meanwhile. It is never used again, because its name contains build and attempt.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from celery.utils.log import get_logger

from tasks.errors import StagefarmError, of_system
from tasks.host.locks import try_lock_folder
from tasks.host.process_tree import kill_tree
from tasks.host.removal import remove_tree

logger = get_logger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 300.0
SHOWN = 20
"""At most so many folders that cannot be removed are sent with the heartbeat."""


def remove_home(home: Path) -> str:
    """Kill what runs in `home` and remove it. Returns why it cannot be removed, empty if it is
    gone. The caller holds its lock."""
    try:
        kill_tree(home)
        remove_tree(home)
    except OSError as error:
        return str(of_system(error))
    except StagefarmError as error:
        return str(error)
    return ""


@dataclass(frozen=True, slots=True)
class Stuck:
    """A folder that could not be removed: why, and when to try again."""

    reason: str
    pause_s: float
    due: float


class Cleaner:
    """A thread that removes leftover folders, so that the agent never waits for it."""

    def __init__(self) -> None:
        self._leftovers: frozenset[Path] = frozenset()
        self._stuck: dict[Path, Stuck] = {}
        self._told = threading.Event()
        self._ended = False

    def start(self) -> None:
        threading.Thread(target=self._run, name="cleaner", daemon=True).start()

    def stop(self) -> None:
        self._ended = True
        self._told.set()

    def take(self, homes: Collection[Path]) -> None:
        """Replace the list of leftover folders; the agent calls this in every pass."""
        self._leftovers = frozenset(homes)
        self._told.set()

    def stuck(self) -> Mapping[str, str]:
        """Why each folder cannot be removed."""
        found = sorted(self._stuck.items())[:SHOWN]
        return {str(home): stuck.reason for home, stuck in found}

    def clean(self) -> None:
        """Try every folder that is due."""
        leftovers = self._leftovers
        self._stuck = {home: stuck for home, stuck in self._stuck.items() if home in leftovers}
        for home in sorted(leftovers):
            if home not in self._stuck or monotonic() >= self._stuck[home].due:
                self._try(home)

    def _run(self) -> None:
        while True:
            self._told.wait()
            self._told.clear()
            if self._ended:
                return
            self.clean()

    def _try(self, home: Path) -> None:
        others, before = dict(self._stuck), self._stuck.get(home)
        others.pop(home, None)
        if not (reason := _remove_unless_used(home)):
            self._stuck = others
            return
        pause_s = min(2 * before.pause_s, LONGEST_PAUSE_S) if before else FIRST_PAUSE_S
        self._stuck = {**others, home: Stuck(reason, pause_s, monotonic() + pause_s)}
        if not before or before.reason != reason:
            logger.warning("%s; trying again later", reason)


def _remove_unless_used(home: Path) -> str:
    try:
        with try_lock_folder(home) as mine:
            return remove_home(home) if mine else ""
    except OSError as error:
        return str(of_system(error))
