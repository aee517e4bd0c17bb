"""Bundles the folder a build is submitted from: outer hooks run in a copy of it on the host.

Deterministic (names sorted, owners and times set to zero), so that the same folder has the same
digest and is sent once. Left out: version control, what `.gitignore` and `.stagefarmignore`
exclude, and the folders that the build itself writes to.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pathspec
import zstandard

from tasks.artifacts.context_bundle import digest_of
from tasks.errors import BadInput
from tasks.model import Build, HookType, SourceType

OWN_IGNORE_FILE = ".stagefarmignore"
IGNORE_FILES = (".gitignore", OWN_IGNORE_FILE)
ALWAYS_LEFT_OUT = (".git", ".hg", ".svn", ".venv", "__pycache__", ".stagefarm")
NAMED = 5
ENTRIES_MAX = 100_000
SMALLER = (
    "list what the hooks do not need in .stagefarmignore, submit from a smaller folder, or raise "
    "context_limit_bytes"
)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A folder packed as bytes; `digest` is their sha256."""

    digest: str
    data: bytes


def bundle(
    folder: Path,
    leave_out: Collection[Path],
    limit_bytes: int,
    ignore_files: Sequence[str] = IGNORE_FILES,
) -> Bundle:
    """The bundle of `folder` without what is below `leave_out`, or what `ignore_files` name;
    `BadInput` if it is larger than `limit_bytes` (it names the largest files), or cannot be
    read."""
    try:
        entries = list(islice(files(folder, leave_out, ignore_files), ENTRIES_MAX + 1))
        if len(entries) > ENTRIES_MAX:
            raise BadInput(f"{folder} has more than {ENTRIES_MAX:,} files to send along", SMALLER)
        data = pack(folder, entries, limit_bytes)
    except OSError as error:
        raise BadInput(f"cannot send along {error.filename}: {error.strerror}", SMALLER) from error
    return Bundle(digest_of(data), data)


def is_needed(build: Build) -> bool:
    """Whether the build reads the folder: for hooks on the host, or anise's configuration."""
    on_host = any(step.phase and step.phase is not HookType.INNER_CHROOT for step in build.steps)
    return on_host or build.source.type is SourceType.ANISE


def written_by(build: Build) -> list[Path]:
    """The folders that the build writes itself, so that they need not be sent."""
    paths = [build.workspacedir, build.output.dir, build.source.target]
    return [Path(path) for path in paths if path]


def files(
    folder: Path, leave_out: Collection[Path], ignore_files: Sequence[str] = IGNORE_FILES
) -> Iterator[str]:
    """Names of the folders, regular files and links to send, relative to `folder`."""
    without = {path for path in leave_out if path != folder}
    walk = _Walk(folder, without, ignore_files)
    yield from walk.below(folder, walk.ignored(folder, ()))


Ignored = tuple[tuple[Path, pathspec.GitIgnoreSpec], ...]


@dataclass(frozen=True, slots=True)
class _Walk:
    root: Path
    without: set[Path]
    ignore_files: Sequence[str]

    def below(self, folder: Path, ignored: Ignored) -> Iterator[str]:
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            path = Path(entry.path)
            is_folder = entry.is_dir(follow_symlinks=False)
            if entry.name in ALWAYS_LEFT_OUT or path in self.without:
                continue
            if _is_ignored(path, ignored, is_folder=is_folder):
                continue
            if is_folder:
                yield str(path.relative_to(self.root))
                yield from self.below(path, self.ignored(path, ignored))
            elif entry.is_file(follow_symlinks=False) or _stays_inside(self.root, path):
                yield str(path.relative_to(self.root))

    def ignored(self, folder: Path, above: Ignored) -> Ignored:
        lines = [
            line
            for name in self.ignore_files
            if (folder / name).is_file()
            for line in (folder / name).read_text(errors="replace").splitlines()
        ]
        return (*above, (folder, pathspec.GitIgnoreSpec.from_lines(lines))) if lines else above


def _is_ignored(path: Path, ignored: Ignored, *, is_folder: bool) -> bool:
    """As in git, the nearest ignore file with a pattern that matches `path` decides."""
    for folder, spec in reversed(ignored):
        name = f"{path.relative_to(folder)}{'/' if is_folder else ''}"
        if (said := spec.check_file(name).include) is not None:
            return said
    return False


def _stays_inside(root: Path, link: Path) -> bool:
    """Whether `link` is a symbolic link to a path in `root`."""
    if not link.is_symlink() or link.readlink().is_absolute():
        return False
    return Path(os.path.normpath(link.parent / link.readlink())).is_relative_to(root)


def pack(folder: Path, names: list[str], limit_bytes: int) -> bytes:
    """A zstd-compressed tar of `names`, the same for the same content."""
    sink = io.BytesIO()
    with (
        zstandard.ZstdCompressor(level=3).stream_writer(sink, closefd=False) as stream,
        tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name in names:
            _add(tar, folder / name, name)
            if sink.tell() > limit_bytes:
                raise _too_large(folder, names, limit_bytes)
    if sink.tell() > limit_bytes:
        raise _too_large(folder, names, limit_bytes)
    return sink.getvalue()


def _add(tar: tarfile.TarFile, path: Path, name: str) -> None:
    info = tar.gettarinfo(str(path), name)
    info.uid = info.gid = info.mtime = 0
    info.uname = info.gname = ""
    if info.islnk():  # a hard link: send the content again
        info.type, info.size = tarfile.REGTYPE, path.stat().st_size
    if info.isreg():
        with path.open("rb") as file:
            tar.addfile(info, file)
    else:
        tar.addfile(info)


def _too_large(folder: Path, names: list[str], limit_bytes: int) -> BadInput:
    sizes = {name: (folder / name).lstat().st_size for name in names}
    largest = sorted(sizes, key=lambda name: -sizes[name])[:NAMED]
    listed = ", ".join(f"{name} ({sizes[name] / 2**20:.1f} MiB)" for name in largest)
    return BadInput(
        f"{folder} is too large to send along: more than {limit_bytes / 2**20:.0f} MiB compressed; "
        f"largest are {listed}",
        SMALLER,
    )
