"""Packages that anise downloaded, kept once on this machine for all builds.

    packages/                only for root
        DIGEST/NAME          a package whose sha256 is DIGEST; touched whenever a build installs it
        .download.lock       held by the build that downloads, so that others find what it brought

anise takes any file of the right name in its own folder of packages for the package, may write to
it at any time, and empties it in the end. So each build has a folder of its own, with links to what
is kept here; what it downloads is kept if a repository vouches for its sha256.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

import msgspec

from tasks.host.chroot_paths import inside
from tasks.host.files import private
from tasks.host.locks import lock

REPOSITORIES = ("var/cache/anise/repos", "var/cache/luet/repos")
METADATA_MAX_BYTES = 64 << 20
PARTIAL = ".partial"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptPackage:
    """One package; `used_at` is in seconds since 1970."""

    digest: str
    name: str
    size_bytes: int
    used_at: float


@dataclass(frozen=True, slots=True)
class PackageCache:
    root: Path

    @contextmanager
    def downloading(self, on_wait: Callable[[], None]) -> Iterator[None]:
        """Keeps other builds of this machine from downloading what this one brings."""
        with lock(private(self.root) / ".download.lock", on_wait=on_wait):
            for path in self.root.glob(f"*/.*{PARTIAL}"):  # of one that was killed here
                path.unlink()
            yield

    def offer(self, rootfs: Path, folder: Path) -> None:
        """Link what the repositories of `rootfs` have, and is kept, into `folder`."""
        kept = {(package.name, package.digest) for package in self.all()}
        for name, digests in _vouched_for(rootfs, {name for name, _ in kept}).items():
            for digest in digests if len(digests) == 1 else ():
                if (name, digest) in kept:
                    with suppress(FileNotFoundError, FileExistsError):
                        _link(self._place(digest, name), folder / name)

    def keep(self, rootfs: Path, folder: Path) -> None:
        """Keep what anise downloaded into `folder`, while others wait for it. That a package
        cannot be kept is no reason to fail a build."""
        files = {path.name: path for path in folder.iterdir() if path.is_file()}
        for name, digests in _vouched_for(rootfs, files).items():
            with suppress(OSError):
                self._keep_one(files[name], digests)

    def _keep_one(self, file: Path, digests: Collection[str]) -> None:
        if any(_is_same(file, self._place(digest, file.name)) for digest in digests):
            return
        digest = _digest(file)
        place = self._place(digest, file.name)
        if digest not in digests or place.exists():
            return
        place.parent.mkdir(exist_ok=True)
        unfinished = place.with_name(f".{token_hex(4)}{PARTIAL}")
        _link(file, unfinished)
        with unfinished.open("rb") as opened:
            os.fsync(opened.fileno())
        unfinished.rename(place)
        os.utime(place)

    def touch(self, stems: Collection[str]) -> None:
        """Remember that the packages `NAME-CATEGORY-VERSION` of `stems` were used just now."""
        for package in self.all():
            if _stem(package.name) in stems:
                with suppress(FileNotFoundError):
                    os.utime(self._place(package.digest, package.name))

    def drop_damaged(self, folder: Path) -> list[str]:
        """The names of packages in `folder` that are not any more what was kept: they go from
        both."""
        damaged = []
        for package in self.all():
            place, file = self._place(package.digest, package.name), folder / package.name
            if _is_same(file, place) and _digest(file) != package.digest:
                damaged.append(package.name)
                file.unlink()
                self._remove(package)
        return damaged

    def all(self) -> list[KeptPackage]:
        """All that is kept, what was used last first."""
        return sorted(self._all(), key=lambda package: package.used_at, reverse=True)

    def _all(self) -> Iterator[KeptPackage]:
        for path in self.root.glob("*/*"):
            if not path.name.startswith("."):
                with suppress(FileNotFoundError):
                    about = path.stat()
                    yield KeptPackage(
                        digest=path.parent.name,
                        name=path.name,
                        size_bytes=about.st_size,
                        used_at=about.st_mtime,
                    )

    def prune(self, limit_bytes: int) -> list[KeptPackage]:
        """Remove what was used least recently until the rest fits; builds have links of their
        own to what they use."""
        removed, total = [], 0
        for package in self.all():
            if total + package.size_bytes > limit_bytes:
                self._remove(package)
                removed.append(package)
            else:
                total += package.size_bytes
        return removed

    def _remove(self, package: KeptPackage) -> None:
        self._place(package.digest, package.name).unlink(missing_ok=True)
        with suppress(OSError):
            (self.root / package.digest).rmdir()

    def _place(self, digest: str, name: str) -> Path:
        return self.root / digest / name


class _Metadata(msgspec.Struct):
    """What a repository says of a package."""

    path: str
    checksums: dict[str, str]


def _vouched_for(rootfs: Path, names: Collection[str]) -> dict[str, set[str]]:
    """The sha256 that the repositories of `rootfs` give for each package file of `names`; more
    than one, where repositories have different ones by the same name."""
    stems = {_stem(name) for name in names}
    found: dict[str, set[str]] = {}
    for metadata in _metadata(rootfs, stems):
        name, digest = Path(metadata.path).name, metadata.checksums.get("sha256", "")
        if name in names and re.fullmatch("[0-9a-f]{64}", digest):
            found.setdefault(name, set()).add(digest)
    return found


def _metadata(rootfs: Path, stems: Collection[str]) -> Iterator[_Metadata]:
    for place in REPOSITORIES if stems else ():
        for path in inside(rootfs, place).glob("*/treefs/*/*/*/metadata.json"):
            category, name, version = path.parts[-4:-1]
            real = inside(rootfs, str(path.relative_to(rootfs)))
            if f"{name}-{category}-{version}" in stems and real.is_file():
                with suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError):
                    with real.open("rb") as file:
                        data = file.read(METADATA_MAX_BYTES)
                    yield msgspec.json.decode(data, type=_Metadata)


def _stem(name: str) -> str:
    """`NAME-CATEGORY-VERSION` of the file of a package."""
    return name.partition(".package.")[0]


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _is_same(file: Path, other: Path) -> bool:
    with suppress(FileNotFoundError):
        return file.samefile(other)
    return False


def _link(source: Path, target: Path) -> None:
    """Make `target` the file `source`, or where that is on another disk, a copy of it."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK):
            raise
        shutil.copyfile(source, target)
