"""Keeps inventories on this machine, so that a tarball is read once.

An inventory is found by the sha256 of its tarball. What is kept depends on the code that made it,
too: each file's name has a digest of the form of an inventory, of the texts that are kept, and of
the build paths that were looked for. Files are for their owner alone, because texts such as
/etc/shadow are in them.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
import zstandard

from tasks.host.files import private, replaced, write_all
from tasks.host.locks import exclusive
from tasks.inspection.inventory import Inventory
from tasks.inspection.texts import GROUPS

COUNT_MAX = 64
_SHA256 = re.compile("[0-9a-f]{64}")


class Inventories:
    """Inventories in the folder `root`; when there are more than `count_max`, those used least
    recently are removed. Any number of processes may use it at a time."""

    def __init__(
        self, root: Path, *, build_paths: Sequence[bytes] = (), count_max: int = COUNT_MAX
    ) -> None:
        self.root = root
        self._count_max = count_max
        self._form = _form(build_paths)

    def get(self, sha256: str) -> Inventory | None:
        """The inventory of the tarball with this digest; None if there is none that is whole."""
        path = self._path(sha256)
        try:
            found = _decoded(path.read_bytes())
            os.utime(path)
        except (OSError, zstandard.ZstdError, msgspec.MsgspecError, ValueError):
            return None
        return found if found.sha256 == sha256 else None

    def put(self, inventory: Inventory) -> None:
        path = self._path(inventory.sha256)
        private(self.root)
        with exclusive(path):
            _write(path, inventory)
        self._prune()

    def of(self, sha256: str, make: Callable[[], Inventory]) -> Inventory:
        """The inventory of the tarball with this digest, from here or from `make`, which one
        process at a time calls. The caller checks that what it made has this digest."""
        if found := self.get(sha256):
            return found
        path = self._path(sha256)
        private(self.root)
        with exclusive(path):
            if found := self.get(sha256):
                return found
            made = make()
            if made.sha256 == sha256:
                _write(path, made)
        self._prune()
        return made

    def _path(self, sha256: str) -> Path:
        if not _SHA256.fullmatch(sha256):
            raise ValueError(f"no sha256: {sha256!r}")
        return self.root / f"{sha256}-{self._form}.json.zst"

    def _prune(self) -> None:
        used: list[tuple[float, Path]] = []
        for path in self.root.glob("[0-9a-f]*.json.zst"):
            with suppress(FileNotFoundError):
                used.append((path.stat().st_mtime, path))
        for _, path in sorted(used, reverse=True)[self._count_max :]:
            path.unlink(missing_ok=True)


def _form(build_paths: Sequence[bytes]) -> str:
    schema = msgspec.json.encode(msgspec.json.schema(Inventory))
    told = [schema, repr(GROUPS).encode(), *sorted(build_paths)]
    return hashlib.sha256(b"\0".join(told)).hexdigest()[:16]


def _write(path: Path, inventory: Inventory) -> None:
    data = zstandard.ZstdCompressor(level=3, write_checksum=True).compress(_encoded(inventory))
    with replaced(path) as file:
        os.fchmod(file.fileno(), 0o600)
        write_all(file.fileno(), data)


def _encoded(inventory: Inventory) -> bytes:
    """As JSON; names that are no text have escapes in it, which msgspec does not write."""
    try:
        return msgspec.json.encode(inventory)
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(inventory)).encode()


def _decoded(data: bytes) -> Inventory:
    text = zstandard.ZstdDecompressor().decompress(data)
    try:
        return msgspec.json.decode(text, type=Inventory)
    except msgspec.DecodeError:
        return msgspec.convert(json.loads(text), Inventory)
