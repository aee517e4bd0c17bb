"""mark-devkit's `tarformers_specs`: which files are unpacked or packed, their names and owners."""

from __future__ import annotations

import os
import posixpath
import re
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tasks.archive.pax_headers import Edit, Member
from tasks.errors import BadInput
from tasks.model import Tarformers


class Rules:
    """The compiled rules of a `Tarformers`. Paths start at the root: `/etc/hosts`."""

    def __init__(self, given: Tarformers) -> None:
        self._given = given
        self._ignored = frozenset(given.ignore_files)
        self._renames = {rule.source: rule.dest for rule in reversed(given.rename)}
        self._patterns = [_compiled(pattern) for pattern in given.ignore_regexes]
        self._uids = _numbers(given.remap_uids)
        self._gids = _numbers(given.remap_gids)

    def leaves_out(self, *paths: str) -> bool:
        """Whether a file with these paths is left out."""
        prefixes = self._given.match_prefix
        if prefixes and not any(path.startswith(prefixes) for path in paths):
            return True
        return any(map(self._is_ignored, paths))

    def _is_ignored(self, path: str) -> bool:
        return path in self._ignored or any(pattern.search(path) for pattern in self._patterns)

    def new_name(self, path: str) -> str:
        """The new name of a file: by a rule for the whole name, else by the first rule for its
        beginning."""
        if path in self._renames:
            return self._renames[path]
        for rule in self._given.rename_paths:
            if path.startswith(rule.source):
                return path.replace(rule.source, rule.dest, 1)
        return path

    def on_unpacking(self) -> Edit:
        """The edit for a source: entries are renamed, then selected by their new names."""

        def edit(member: Member) -> Member | None:
            changed = self._changed(member)
            return None if self.leaves_out(_path(changed.name)) else changed

        return edit

    def on_packing(self) -> Edit:
        """The edit for an output: its entries were selected before they are packed."""
        return self._changed

    def _changed(self, member: Member) -> Member:
        return replace(
            member,
            name=self._renamed(member.name),
            link=self._renamed(member.link) if member.is_hard else member.link,
            uid=self._uids.get(member.uid, member.uid),
            gid=self._gids.get(member.gid, member.gid),
        )

    def _renamed(self, name: bytes) -> bytes:
        path = _path(name)
        new = self.new_name(path)
        return name if new == path else os.fsencode("./" + new.lstrip("/"))

    def chosen(self, folder: Path, rootfs: Path) -> Iterator[bytes]:
        """The names of all files of `folder` to pack, relative to it, sorted. As in mark-devkit,
        rules may also name a file by its path on the host, below `rootfs`."""
        for path in _walk(folder):
            if not self.leaves_out(path, f"{rootfs}{path}"):
                yield os.fsencode(f".{path}")

    @property
    def all_times(self) -> bool:
        return self._given.same_chtimes

    def also(self) -> Iterator[bytes]:
        """The names of files to pack in addition to the root filesystem, relative to `/`."""
        writer = self._given.writer
        if not writer:
            return
        for folder in writer.dirs:
            top = Path("/", folder)
            yield from (os.fsencode(f"{str(top).lstrip('/')}{path}") for path in _walk(top))
        yield from (os.fsencode(str(Path("/", file)).lstrip("/")) for file in writer.files)


def _walk(top: Path) -> Iterator[str]:
    """Every path below `top`, first the folder itself as `/`, in tar's order: each folder is
    followed by its content, sorted."""
    pending = ["/"]
    while pending:
        path = pending.pop()
        yield path
        here = f"{top}{path}".rstrip("/")
        entry = os.lstat(here) if path != "/" else top.stat()
        if stat.S_ISDIR(entry.st_mode):
            inside = sorted(os.listdir(here), key=os.fsencode, reverse=True)  # noqa: PTH208
            pending += [f"{path.rstrip('/')}/{name}" for name in inside]


def _path(name: bytes) -> str:
    """An entry's name as a path that starts at the root."""
    path = posixpath.normpath(os.fsdecode(name)).lstrip("/")
    return "/" if path == "." else f"/{path}"


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise BadInput(f"tarformers_specs: ignore_regexes: {pattern!r}: {error}") from error


def _numbers(given: dict[str, str]) -> dict[int, int]:
    try:
        return {int(old): int(new) for old, new in given.items()}
    except ValueError as error:
        raise BadInput(
            f"tarformers_specs: remap_uids and remap_gids map numbers: {error}"
        ) from error
