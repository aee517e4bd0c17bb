"""The gate's signed statements, which this machine writes beside the stages that it publishes.

They are not in the store, where only hosts write: a folder of the publisher has them, and each
mirror that shows the stage.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from orchestrator.gate.attestation import ENDING, LIMIT_BYTES
from orchestrator.release.catalog import File
from orchestrator.release.targets.target import Target
from tasks.errors import StagefarmError, of_system
from tasks.host.files import replaced, write_all
from tasks.store.folder import FolderFile
from tasks.store.store import StoredFile

KEPT_S = 90 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Statements:
    """Statements in `folder`, where each has the path that it has on a mirror."""

    folder: Path

    def keep(self, name: str, content: bytes) -> tuple[File, StoredFile]:
        digest = hashlib.sha256(content).hexdigest()
        file = File(name=name, size_bytes=len(content), sha256=digest)
        path = self.folder / file.path
        if not path.exists():
            try:
                with replaced(path) as fresh:
                    write_all(fresh.fileno(), content)
            except OSError as error:
                raise of_system(error) from error
        return file, FolderFile(path)

    def find(self, file: File, mirrors: Iterable[Target]) -> StoredFile | None:
        """The statement `file`, here or on one of `mirrors`; None if it is nowhere, or none."""
        if not file.name.endswith(f".{ENDING}"):
            return None
        path = self.folder / file.path
        if path.exists():
            return FolderFile(path)
        for mirror in mirrors:
            content = None
            with suppress(StagefarmError):  # another one may have it
                content = mirror.read(file.path, LIMIT_BYTES)
            if content and hashlib.sha256(content).hexdigest() == file.sha256:
                return self.keep(file.name, content)[1]
        return None

    def prune(self, named: Iterable[str]) -> None:
        """Remove those that have not been named for long."""
        old = time.time() - KEPT_S
        for path in {*self.folder.glob("*/*/*")} - {self.folder / name for name in named}:
            with suppress(OSError):
                if path.stat().st_mtime < old:
                    path.unlink()
                    path.parent.rmdir()
