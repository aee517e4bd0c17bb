"""The files of stages in the farm's store, found without the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import quote

from orchestrator.release.catalog import File, Stage
from orchestrator.release.taking import Candidate
from tasks.artifacts.provenance import job_name
from tasks.errors import BadInput, HostUnfit
from tasks.settings import Settings
from tasks.store.folder import FileStore
from tasks.store.objects import Objects
from tasks.store.opening import S3, file_at
from tasks.store.s3_access import Access
from tasks.store.store import StoredFile

SIGNED = job_name("")
"""What the name of a signed job ends with; before that is the name of its tarball."""


@dataclass(frozen=True, slots=True)
class Shelves:
    """The store at `store_url`: `<batch or build>/<build>/<attempt>/<name>`."""

    settings: Settings

    def find(self, stage: Stage, file: File) -> StoredFile | None:
        """A file of a stage that was published before, None if it is not there any more."""
        folder = f"{stage.batch or stage.build}/{stage.build}/{stage.attempt}"
        found = self._at(f"{folder}/{file.name}")
        try:
            return found if found.size() == file.size_bytes else None
        except OSError:
            return None

    def candidates(self, name: str) -> list[Candidate]:
        """The tarballs of the build or batch with that id, of the newest signed attempt of each
        build; `BadInput` if there are none."""
        newest: dict[str, tuple[int, list[str]]] = {}
        for path in self._signed(name):
            _, build, attempt, _ = path.split("/")
            number = int(attempt)
            if number > newest.get(build, (0, []))[0]:
                newest[build] = (number, [])
            if number == newest[build][0]:
                newest[build][1].append(path.removesuffix(SIGNED))
        if not newest:
            raise BadInput(
                f"{self.settings.store} has no signed stage of {name}",
                "give the whole id of a build or a batch",
            )
        return [
            Candidate(build, self._at(path))
            for build, (_, paths) in sorted(newest.items())
            for path in sorted(paths)
        ]

    def _signed(self, name: str) -> Iterator[str]:
        """The paths of the signed jobs of the build or batch."""
        for path in self._paths(name):
            parts = path.split("/")
            if len(parts) == 4 and name in parts[:2] and parts[2].isdecimal():
                yield path

    def _paths(self, name: str) -> Iterable[str]:
        if self.settings.store.startswith(S3):
            objects = Objects.at(self.settings.store, Access.of(self.settings))
            found = [one.path for one in objects.list(f"{name}/")]
            every = found or [one.path for one in objects.list()]
            return [path for path in every if path.endswith(SIGNED)]
        root = FileStore.at(self.settings.store).root
        if not root.is_dir():
            raise HostUnfit(f"the store {root} is not on this machine", "mount it here")
        files = root.glob(f"*/*/[0-9]*/*{SIGNED}")
        return [str(file.relative_to(root)) for file in files]

    def _at(self, path: str) -> StoredFile:
        store = self.settings.store.rstrip("/")
        named = path if store.startswith(S3) else quote(path)
        return file_at(f"{store}/{named}", self.settings)
