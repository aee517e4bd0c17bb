"""A store that is a bucket of S3, or a part of one.

S3 has no rename, so an attempt's files are written where they stay, each whole or not at all. What
was stored by a try that failed, and the parts of an interrupted file, are taken up by the next try
of the same attempt, and removed by the next attempt. Uploads that nobody took up for a week are
removed by whoever keeps a checkpoint or publishes next.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import tempfile
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from tasks.errors import Altered, BadInput, HostUnfit, Stale
from tasks.host.files import replaced, write_all
from tasks.model import Build
from tasks.results import Artifact, Checkpoint
from tasks.store.objects import Objects
from tasks.store.store import OnBytes, Packed, StoredFile, require_packed

logger = logging.getLogger(__name__)

CHECKPOINTS = ".checkpoints/"
"""All of them are below this, so that the old ones are found without listing the whole store."""

DOWNLOADS = 3
CHECK_EVERY_S = 60.0
UPLOADS_KEPT_S = 7 * 24 * 3600.0

_checked: dict[Objects, float] = {}
"""When this process last found a store usable, in seconds of the monotonic clock."""


@dataclass(frozen=True, slots=True)
class S3File:
    """An object, as a `StoredFile`."""

    objects: Objects
    path: str

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).name

    @property
    def url(self) -> str:
        return self.objects.url_of(self.path)

    def size(self) -> int:
        if found := self.objects.head(self.path):
            return found.size_bytes
        raise FileNotFoundError(errno.ENOENT, "no such object", self.url)

    def read(self, limit_bytes: int) -> bytes:
        return self.objects.read(self.path, limit_bytes)

    def pieces(self) -> Iterator[bytes]:
        return self.objects.get(self.path)

    def write(self, content: bytes) -> None:
        self.objects.put(self.path, content)

    @contextmanager
    def fetched(self, sha256: str, on_bytes: OnBytes = int) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="from-store-") as folder:
            target = Path(folder, self.name)
            _bring(self, target, sha256, on_bytes)
            yield target

    def sibling(self, name: str) -> S3File:
        return replace(self, path=str(PurePosixPath(self.path).with_name(name)))

    def sidecars(self) -> list[StoredFile]:
        found = self.objects.list(f"{self.path}.")
        return [replace(self, path=one.path) for one in found]


@dataclass(frozen=True, slots=True)
class S3Store:
    """The objects below a prefix."""

    objects: Objects

    def place(self, build: Build, attempt: int) -> str:
        return self.objects.url_of(_attempt(build, attempt).rstrip("/"))

    def unfit(self) -> str:
        checked = _checked.get(self.objects)
        if checked and time.monotonic() - checked < CHECK_EVERY_S:
            return ""
        _checked.pop(self.objects, None)
        try:
            self.objects.check()
            if checked is None:
                self._write_something()
        except (BadInput, HostUnfit) as error:
            reason = f"{error}; {error.hint}" if error.hint else str(error)
            return f"cannot use the store: {reason}"
        _checked[self.objects] = time.monotonic()
        return ""

    def _write_something(self) -> None:
        path = f".stagefarm-probe/{uuid.uuid4().hex}"
        self.objects.put(path, b"")
        self.objects.delete([path])

    def remark(self) -> str:
        held = self.objects.probe()
        missing = [name for name in ("absent", "match") if not getattr(held, name)]
        if not missing:
            return ""
        return (
            f"{self.objects.url}: this server accepts conditional writes and overwrites all the "
            "same; builds need none, since the ledger decides which attempt counts"
        )

    # Artifacts

    def put(
        self,
        build: Build,
        attempt: int,
        host: str,
        artifacts: Sequence[Artifact],
        extras: Mapping[str, Path | bytes],
        counted: Collection[int] = (),
        on_bytes: OnBytes = int,
    ) -> tuple[Artifact, ...]:
        """See `Store.put`. What an earlier try stored is not sent again."""
        place = _attempt(build, attempt)
        if attempt in counted:
            raise Stale(f"attempt {attempt} has ended: {self.place(build, attempt)} stays as it is")
        for artifact in artifacts:
            self._put(f"{place}{artifact.name}", artifact, on_bytes)
        for name, content in extras.items():
            if isinstance(content, bytes) or content.exists():
                # A log may still grow while it is read; what is there now is taken.
                self.objects.put(f"{place}{name}", content)
        return tuple(
            replace(artifact, path=self.objects.url_of(f"{place}{artifact.name}"))
            for artifact in artifacts
        )

    def _put(self, path: str, artifact: Artifact, on_bytes: OnBytes) -> None:
        require_packed(artifact)
        there = self.objects.head(path)
        if there and (there.size_bytes, there.sha256) == (artifact.size_bytes, artifact.sha256):
            on_bytes(artifact.size_bytes)
            return
        with Path(artifact.path).open("rb") as file:
            self.objects.put(
                path,
                Packed(artifact, file),
                size_bytes=artifact.size_bytes,
                sha256=artifact.sha256,
                on_bytes=on_bytes,
            )

    def withdraw(self, build: Build, attempt: int, counted: Collection[int] = ()) -> None:
        if attempt not in counted:
            self._sweep(_attempt(build, attempt))

    def sweep(self, build: Build, attempt: int, counted: Collection[int]) -> None:
        def is_left(path: str) -> bool:
            number = path.removeprefix(_home(build)).partition("/")[0]
            return number.isdecimal() and int(number) < attempt and int(number) not in counted

        self._sweep(_home(build), is_left)
        self._sweep_uploads()

    # Checkpoints

    @contextmanager
    def new_checkpoint(
        self, build: Build, attempt: int, step: int, host: str, on_bytes: OnBytes = int
    ) -> Iterator[Path]:
        """See `Store.new_checkpoint`: it needs room for it on this machine."""
        place = _checkpoint(build, attempt, step)
        with tempfile.TemporaryDirectory(prefix="checkpoint-") as folder:
            yield Path(folder)
            try:
                for file in sorted(Path(folder).iterdir()):
                    self.objects.put(f"{place}{file.name}", file, on_bytes=on_bytes)
            except BaseException:
                self._sweep(place)
                raise

    @contextmanager
    def kept_checkpoint(
        self, build: Build, kept: Checkpoint, on_bytes: OnBytes = int
    ) -> Iterator[Path | None]:
        place = _checkpoint(build, kept.attempt, kept.step)
        with tempfile.TemporaryDirectory(prefix="checkpoint-") as folder:
            try:
                for part in (kept.rootfs, kept.workspace):
                    file = S3File(self.objects, f"{place}{part.name}")
                    _bring(file, Path(folder, part.name), part.sha256, on_bytes)
            except FileNotFoundError:
                yield None
            else:
                yield Path(folder)

    def sweep_checkpoints(self, keep_s: float) -> None:
        latest = time.time() - keep_s
        with _leaving_it():
            found = self.objects.list(CHECKPOINTS)
            self.objects.delete([one.path for one in found if one.modified < latest])
        self._sweep_uploads()

    def drop_checkpoint(self, build: Build, attempt: int, step: int) -> None:
        self._sweep(_checkpoint(build, attempt, step))

    def drop_checkpoints(self, build: Build) -> None:
        self._sweep(f"{CHECKPOINTS}{build.id}/")

    # Sweeping

    def _sweep(self, prefix: str, wanted: Callable[[str], bool] = bool) -> None:
        """Remove the objects below `prefix` and the interrupted uploads, those that are `wanted`
        by their paths; by default all."""
        with _leaving_it():
            self.objects.delete([one.path for one in self.objects.list(prefix) if wanted(one.path)])
        with _leaving_it():
            found = self.objects.uploads(prefix)
            self.objects.abort(upload for upload in found if wanted(upload.path))

    def _sweep_uploads(self) -> None:
        """Remove the uploads that nobody has taken up for a week."""
        latest = time.time() - UPLOADS_KEPT_S
        with _leaving_it():
            old = [upload for upload in self.objects.uploads() if upload.began < latest]
            self.objects.abort(one for one in old if self.objects.touched(one) < latest)


@contextmanager
def _leaving_it() -> Iterator[None]:
    """What cannot be removed now is no failure of anything."""
    try:
        yield
    except (OSError, HostUnfit) as error:
        logger.warning("left in the store: %s", error)


def _home(build: Build) -> str:
    return f"{build.batch or build.id}/{build.id}/"


def _attempt(build: Build, attempt: int) -> str:
    return f"{_home(build)}{attempt}/"


def _checkpoint(build: Build, attempt: int, step: int) -> str:
    return f"{CHECKPOINTS}{build.id}/{attempt}.{step}/"


def _bring(file: S3File, target: Path, sha256: str, on_bytes: OnBytes) -> None:
    """Download `file`, which must have the digest `sha256` unless that is empty: another time if
    it was changed on its way, else `Altered`."""
    for _ in range(DOWNLOADS):
        digest = hashlib.sha256()
        with replaced(target) as sink:
            for piece in file.pieces():
                digest.update(piece)
                write_all(sink.fileno(), piece)
                on_bytes(len(piece))
        if sha256 in ("", digest.hexdigest()):
            return
    raise Altered(f"{file.url} is not what was built: its sha256 differs")
