"""Writes the files of a commit to a folder: exactly those of its tree, whatever its attributes say.

The tree is the work of others. A name that git's own checkout would refuse is refused here; links
are made last, so that no file is written through one, and must stay within the tree.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import IO

from orchestrator.display.printable import visible
from orchestrator.inputs.repository import Repository
from tasks.errors import BadInput, HostUnfit

FILES_MAX = 100_000
NAME_MAX = 4096
LINK_MAX_BYTES = 4096
PIECE_BYTES = 1024 * 1024

_LINE = re.compile(r"([0-7]{6}) (blob|commit) ([0-9a-f]{40}) +([0-9]+|-)\t(.+)")


class Mode(StrEnum):
    FILE = "100644"
    GROUP_FILE = "100664"  # of old versions of git
    PROGRAM = "100755"
    LINK = "120000"
    SUBMODULE = "160000"


@dataclass(frozen=True, slots=True)
class Entry:
    mode: Mode
    id: str
    size: int
    name: str


def write_commit(repository: Repository, commit: str, folder: Path) -> None:
    """Write the files of `commit` to `folder`, which is empty. Submodules are empty folders.
    `BadInput` for a tree that cannot be written safely, or is larger than `git_limit_bytes`."""
    entries = [_entry(line, repository.url) for line in repository.entries(commit, FILES_MAX)]
    total, limit = sum(entry.size for entry in entries), repository.settings.git_limit_bytes
    if total > limit:
        raise BadInput(
            f"{repository.url}: {commit[:12]} has {total:,} bytes, more than {limit:,}",
            "raise git_limit_bytes",
        )
    try:
        _write(repository, entries, folder)
    except (FileExistsError, NotADirectoryError) as error:
        path = error.filename2 or error.filename
        name = visible(os.path.relpath(path, folder))
        raise BadInput(f"{repository.url}: {commit[:12]} has {name} twice") from error
    except OSError as error:
        raise HostUnfit(f"cannot write {error.filename}: {error.strerror}") from error


def _entry(line: str, url: str) -> Entry:
    """One line of `git ls-tree -l`. Names with characters that git quotes are refused."""
    match = _LINE.fullmatch(line)
    name = match[5] if match else line.partition("\t")[2]
    if not match or match[1] not in {str(mode) for mode in Mode} or not _is_plain(name):
        raise BadInput(
            f"{url}: it has a file with a name or mode that is not taken: {visible(name)[:200]}",
            "names need to be text without control characters, quotes and `.git`",
        )
    return Entry(Mode(match[1]), match[3], int(match[4]) if match[4] != "-" else 0, name)


def _is_plain(name: str) -> bool:
    parts = name.split("/")
    return (
        len(name) <= NAME_MAX
        and name.isprintable()
        and not name.startswith('"')
        and "\ufffd" not in name
        and all(part not in ("", ".", "..") and part.lower() != ".git" for part in parts)
    )


def _write(repository: Repository, entries: Sequence[Entry], folder: Path) -> None:
    for entry in entries:
        make_folders(folder, PurePosixPath(entry.name).parent)
    links: list[tuple[Path, str]] = []
    blobs = [entry for entry in entries if entry.mode is not Mode.SUBMODULE]
    with tempfile.TemporaryFile() as asked:
        asked.write(b"".join(entry.id.encode() + b"\n" for entry in blobs))
        asked.seek(0)
        with repository.contents(asked) as said:
            for entry in blobs:
                _expect(said, f"{entry.id} blob {entry.size}\n".encode(), entry, repository)
                if entry.mode is Mode.LINK:
                    links.append((folder / entry.name, _link(said, entry, repository.url)))
                else:
                    _copy(said, entry, folder / entry.name)
                _expect(said, b"\n", entry, repository)
    for entry in entries:
        if entry.mode is Mode.SUBMODULE:
            make_folders(folder, PurePosixPath(entry.name))
    for path, target in links:
        path.symlink_to(target)
    _require_inside(links, folder, repository.url)


def _expect(said: IO[bytes], wanted: bytes, entry: Entry, repository: Repository) -> None:
    """git says so before and after each file; less if it ended, or has another file."""
    if said.read(len(wanted)) != wanted:
        hint = f"remove {repository.folder}"
        raise HostUnfit(f"{repository.folder} lacks {visible(entry.name)}", hint)


def _copy(said: IO[bytes], entry: Entry, path: Path) -> None:
    """A new file, with the same permissions whatever those of this process are."""
    mode = 0o755 if entry.mode is Mode.PROGRAM else 0o644
    with path.open("xb") as file:
        os.fchmod(file.fileno(), mode)
        file.writelines(said.read(size) for size in _pieces(entry.size))


def _pieces(size: int) -> Iterator[int]:
    for start in range(0, size, PIECE_BYTES):
        yield min(PIECE_BYTES, size - start)


def _link(said: IO[bytes], entry: Entry, url: str) -> str:
    if entry.size > LINK_MAX_BYTES:
        raise _leaves(url, entry.name)
    target = os.fsdecode(said.read(entry.size))
    if not target or "\0" in target or target.startswith("/"):
        raise _leaves(url, entry.name)
    return target


def _require_inside(links: Sequence[tuple[Path, str]], folder: Path, url: str) -> None:
    """`BadInput` if a link, or what it leads to by way of others, is not within `folder`."""
    root = os.path.realpath(folder)
    for path, _ in links:
        found = os.path.realpath(path)
        if found != root and not found.startswith(f"{root}/"):
            raise _leaves(url, str(path.relative_to(folder)))


def _leaves(url: str, name: str) -> BadInput:
    return BadInput(
        f"{url}: the link {visible(name)} leads out of the repository", "make it relative"
    )


def make_folders(folder: Path, below: PurePosixPath) -> Path:
    """Make the folders of `below` in `folder`, with the same permissions whatever those of this
    process are; `FileExistsError` if one of them is a link or a file."""
    path = folder
    for part in below.parts:
        path /= part
        if path.is_symlink() or not path.is_dir():
            path.mkdir()
            path.chmod(0o755)
    return path
