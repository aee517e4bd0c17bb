"""Seeds: tarballs unpacked once for this machine, for all builds that start from them.

    seeds/                   only for root: a seed may hold devices and setuid programs
        DIGEST/              a seed's root filesystem; nobody writes to it
        DIGEST.json          where it came from, its size; touched whenever it is used
        DIGEST.lock          shared lock of builds about to use it, exclusive lock of its creator
        DIGEST.users/        links to the links by which builds name the seed they use
        .DIGEST.partial/     a seed that is being made
        DIGEST.*.partial     a record that is being written
        known/               what was learned of files and addresses (`sources.download_index`)

DIGEST is the sha256 of the tarball. A build that uses a seed has a link to it in a folder of its
own; as long as that link is there and points at the seed, the seed is in use, even if the
processes of the build have exited.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from secrets import token_hex

from tasks.archive.tarball import Limits, extract
from tasks.errors import SourceFailed, StagefarmError
from tasks.host.files import private, sync_file_system
from tasks.host.locks import lock, try_lock
from tasks.host.machine import boot_id
from tasks.host.removal import remove_tree
from tasks.model import decode, encode
from tasks.reporting import Line, Report
from tasks.rootfs.pruning import prune

SETTLED_S = 60.0
"""After so long the kernel has written most of a new seed to the disk by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """What is known of one seed. `tree` is a checksum over the metadata of its files; `boot` is the
    boot in which it was made, empty once it is sure to survive a power cut; times are in seconds
    since 1970."""

    digest: str
    name: str
    size_bytes: int
    made_at: float
    tree: str = ""
    boot: str = ""
    used_at: float = 0.0

    @property
    def key(self) -> str:
        return self.digest


@dataclass(frozen=True, slots=True)
class Seeds:
    """The seeds of this machine, in the folder `root`."""

    root: Path
    limits: Limits = field(default_factory=Limits)

    @contextmanager
    def lease(
        self,
        tarball: Path,
        digest: str,
        *,
        link: Path,
        report: Report,
        unpacked: Path | None = None,
    ) -> Iterator[Path]:
        """The root filesystem of `tarball`, unpacked now if it never was (or taken from `unpacked`,
        a `scratch` folder); `link` becomes a link to it. The seed stays until both the body has
        ended and the link is gone."""
        with self.hold(digest, link=link) as found:
            if found:
                yield found
                return
        self._make(tarball, digest, report, unpacked)
        with self.hold(digest, link=link) as found:
            if not found:
                raise SourceFailed(f"the seed {digest[:12]} was removed right after it was created")
            yield found

    @contextmanager
    def hold(self, digest: str, *, link: Path) -> Iterator[Path | None]:
        """`lease` for a seed that may be there: None where it is not."""
        with lock(self._lock(digest), shared=True):
            folder = self.root / digest
            if self._is_sound(digest):
                self._register(digest, link)
                os.utime(self._record(digest))
                yield folder
                return
        yield None

    def all(self) -> list[Seed]:
        """All seeds, the one used last first."""
        found = [seed for path in self.root.glob("*.json") if (seed := _read(path))]
        return sorted(found, key=lambda seed: seed.used_at, reverse=True)

    def is_used(self, digest: str) -> bool:
        """Whether a build has it as its seed."""
        return any(self._is_live(user, digest) for user in self._users(digest).glob("*"))

    def prune(self, limit_bytes: int) -> list[Seed]:
        """Remove the least recently used until the rest fits into `limit_bytes`; returns what was
        removed. A seed in use is never removed."""
        return prune([self], limit_bytes)

    def sweep(self) -> None:
        """Remove what processes that were killed left behind, all of which was made under a lock,
        and the links of builds that are gone."""
        for path in self.root.glob("*.lock"):
            with try_lock(path) as held:
                if held:
                    self._sweep_one(path.stem)

    def is_intact(self, seed: Seed) -> bool:
        """Whether the files of a seed are all there and as they were unpacked, as far as their
        metadata tells: names, kinds, owners, modes, sizes, times."""
        with lock(self._lock(seed.digest), shared=True):
            folder = self.root / seed.digest
            with suppress(OSError):
                return folder.is_dir() and _survey(folder)[1] == seed.tree
        return False

    def remove(self, digest: str) -> bool:
        """Remove a seed unless it is in use; returns whether it was removed."""
        with try_lock(self._lock(digest)) as held:
            if not held or self.is_used(digest):
                return False
            self._wipe(digest)
            self._lock(digest).unlink()
            return True

    # --- the parts -----------------------------------------------------------------------------

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """The name of a folder, not made yet, that may become a seed, and goes if it does not."""
        name = f"stream-{os.getpid()}-{time.monotonic_ns()}"
        with lock(self._lock(name)):
            folder = self._partial(name)
            try:
                yield folder
            finally:
                remove_tree(folder)
                self._lock(name).unlink()

    def _make(self, tarball: Path, digest: str, report: Report, unpacked: Path | None) -> None:
        """Unpack under a partial name, then rename: a seed is complete or absent."""
        partial = self._partial(digest)
        with lock(self._lock(digest)):
            if self._is_sound(digest):
                return
            self._wipe(digest)
            try:
                if unpacked:
                    unpacked.rename(partial)
                else:
                    extract(tarball, partial, report=report, limits=self.limits)
                self._write(_described(partial, tarball, digest))
                partial.rename(self.root / digest)
            except BaseException:
                remove_tree(partial)
                raise
            report.line(Line(text=f"unpacked the seed {digest[:12]} for all builds to come"))

    def _wipe(self, digest: str) -> None:
        """Remove all of a seed. It is renamed to partial first, so that a sweep continues if this
        process is killed meanwhile."""
        partial = self._partial(digest)
        for folder in (self._users(digest), partial):
            remove_tree(folder)
        with suppress(FileNotFoundError):
            (self.root / digest).rename(partial)
        self._record(digest).unlink(missing_ok=True)
        remove_tree(partial)

    def _is_sound(self, digest: str) -> bool:
        """True for a seed that is whole: one made in an earlier boot that was never known to be on
        the disk may have lost files in a power cut."""
        seed = _read(self._record(digest))
        if not seed or not (self.root / digest).is_dir():
            return False
        if seed.boot and seed.boot != boot_id():
            return False
        if seed.boot and time.time() - seed.made_at > SETTLED_S:
            with suppress(OSError):  # then it is not known to be there; the next user tries again
                sync_file_system(self.root)
                self._write(replace(seed, boot=""))
        return True

    def _write(self, seed: Seed) -> None:
        unfinished = self._record(seed.digest).with_suffix(f".{token_hex(4)}.partial")
        unfinished.write_bytes(encode(seed))
        unfinished.rename(self._record(seed.digest))

    def _partial(self, digest: str) -> Path:
        return self.root / f".{digest}.partial"

    def _record(self, digest: str) -> Path:
        return self.root / f"{digest}.json"

    def _users(self, digest: str) -> Path:
        return self.root / f"{digest}.users"

    def _register(self, digest: str, link: Path) -> None:
        """Make `link` point at the seed, and the seed know of `link`: the second first, so that
        the seed is in use from the moment on when the link is there."""
        link = link.absolute()
        user = self._users(digest) / hashlib.sha256(os.fsencode(link)).hexdigest()[:16]
        user.parent.mkdir(exist_ok=True)
        _point(user, link)
        _point(link, self.root / digest)

    def _is_live(self, user: Path, digest: str) -> bool:
        with suppress(OSError):
            return user.readlink().readlink() == self.root / digest
        return False

    def _sweep_one(self, digest: str) -> None:
        """With the seed locked: a build that is about to make its link looks like one that is
        gone."""
        for unfinished in self.root.glob(f"{digest}.*.partial"):
            unfinished.unlink()
        for user in self._users(digest).glob("*"):
            if not self._is_live(user, digest):
                user.unlink()
        remove_tree(self._partial(digest))
        if not self._record(digest).exists() and not self.is_used(digest):
            self._wipe(digest)
            self._lock(digest).unlink()

    def _lock(self, digest: str) -> Path:
        """The file whose lock guards a seed."""
        return private(self.root) / f"{digest}.lock"


def _point(link: Path, target: Path) -> None:
    """Make `link` a link to `target`, in one step."""
    fresh = link.with_name(f".{link.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.rename(link)


def _read(path: Path) -> Seed | None:
    try:
        return replace(decode(path.read_bytes(), Seed), used_at=path.stat().st_mtime)
    except (OSError, StagefarmError):
        return None


def _described(folder: Path, tarball: Path, digest: str) -> Seed:
    try:
        size_bytes, tree = _survey(folder)
    except OSError as error:  # names may be longer than the kernel takes with the folder before
        raise SourceFailed(f"{tarball}: what is in it cannot be kept: {error.strerror}") from error
    return Seed(
        digest=digest,
        name=tarball.name,
        size_bytes=size_bytes,
        made_at=time.time(),
        tree=tree,
        boot=boot_id(),
    )


def _survey(folder: Path) -> tuple[int, str]:
    """What a tree takes on the disk, each hard link counted once, and a checksum over the names
    and metadata of all that is in it."""
    seen: set[tuple[int, int]] = set()
    digest = hashlib.sha256()
    total = 0
    for parent, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted((*folders, *files)):
            path = os.path.join(parent, name)  # noqa: PTH118 - twice as quick
            entry = os.lstat(path)
            about = (entry.st_mode, entry.st_uid, entry.st_gid, entry.st_rdev, entry.st_mtime_ns)
            size = 0 if stat.S_ISDIR(entry.st_mode) else entry.st_size
            digest.update(
                repr((os.path.relpath(path, folder), about, size)).encode(
                    "utf-8", "surrogateescape"
                )
            )
            if (key := (entry.st_dev, entry.st_ino)) not in seen:
                seen.add(key)
                total += entry.st_blocks * 512
    return total, digest.hexdigest()
