"""The sizes of the stages that were published last, from which limits of sizes are learned.

A file for each stage of a release, on the machine that publishes it. Where it is lost, it fills
again from what is published.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.gate.findings import StageKey
from orchestrator.gate.sizes import SizeRecord, size_record
from tasks.errors import StagefarmError, of_system
from tasks.host.files import replaced, write_all
from tasks.inspection.inventory import Inventory
from tasks.model import decode, encode

KEPT_MAX = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Sized:
    """A published tarball, when it was built, and its sizes."""

    sha256: str
    built_at: float
    sizes: SizeRecord


@dataclass(frozen=True, slots=True)
class SizeHistory:
    """The histories in `folder`."""

    folder: Path

    def of(self, stage: StageKey, count: int) -> tuple[SizeRecord, ...]:
        """The sizes of the last `count` published builds of the stage, the oldest first."""
        return tuple(one.sizes for one in self._read(stage)[-count:]) if count else ()

    def learn(self, stage: StageKey, published: Iterable[tuple[float, Inventory]]) -> None:
        """Add builds that are published, each with the time when it was built."""
        known = {one.sha256: one for one in self._read(stage)}
        fresh = {
            found.sha256: Sized(sha256=found.sha256, built_at=built_at, sizes=size_record(found))
            for built_at, found in published
            if found.sha256 not in known
        }
        if fresh:
            every = sorted((known | fresh).values(), key=lambda one: one.built_at)
            self._write(stage, every[-KEPT_MAX:])

    def knows(self, stage: StageKey) -> set[str]:
        return {one.sha256 for one in self._read(stage)}

    def _file(self, stage: StageKey) -> Path:
        return self.folder / f"{hashlib.sha256(encode(stage)).hexdigest()[:32]}.json"

    def _read(self, stage: StageKey) -> tuple[Sized, ...]:
        try:
            return decode(self._file(stage).read_bytes(), tuple[Sized, ...])
        except (FileNotFoundError, StagefarmError):
            return ()
        except OSError as error:
            raise of_system(error) from error

    def _write(self, stage: StageKey, sized: list[Sized]) -> None:
        try:
            with replaced(self._file(stage)) as fresh:
                write_all(fresh.fileno(), encode(sized))
        except OSError as error:
            raise of_system(error) from error
