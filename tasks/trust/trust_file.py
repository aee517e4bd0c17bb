"""Changes the trust file, and keeps what people wrote in it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.items import AoT

from tasks.errors import BadInput, of_system
from tasks.host.files import replaced
from tasks.host.locks import exclusive
from tasks.trust.keys import PublicKey
from tasks.trust.policy import read_trust

HEAD = "Whom this machine trusts: see docs/security.md, and `stagefarm keys --help`."
MODE = 0o644


def add(file: Path, role: str, name: str, key: str, rights: Mapping[str, Any]) -> Path:
    """Trust `key` of `name` as a `role`, submitter or host, with `rights`; returns the file.
    `BadInput` if the key is in the file already."""
    public = PublicKey.parse(key)
    with _changed(file) as document:
        known = [entry for entries in document.values() for entry in entries]
        for entry in known:
            if PublicKey.parse(str(entry["key"])) == public:
                state = "is revoked" if entry.get("revoked") else "is trusted already"
                raise BadInput(f"{file}: that key of {entry['name']} {state}", f"edit {file}")
        table = tomlkit.table()
        for field, value in {"name": name, "key": str(public), **rights}.items():
            table.add(field, value)
        document.setdefault(role, tomlkit.aot()).append(table)
    return file


def revoke(file: Path, key_or_name: str) -> list[str]:
    """Mark the key, or all keys of that name, as revoked; returns them. `BadInput` if there is
    none."""
    with _changed(file) as document:
        entries = [
            entry for found in document.values() if isinstance(found, AoT) for entry in found
        ]
        wanted = [entry for entry in entries if key_or_name in (entry["name"], entry["key"])]
        if not wanted:
            names = ", ".join(sorted({str(entry["name"]) for entry in entries})) or "none"
            raise BadInput(f"{file} has no key or name {key_or_name}", f"there are: {names}")
        for entry in wanted:
            entry["revoked"] = True
    return [f"{entry['key']} of {entry['name']}" for entry in wanted]


@contextmanager
def _changed(file: Path) -> Iterator[tomlkit.TOMLDocument]:
    """The content of `file`, to be changed; it is written if it is valid afterwards."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(file):
            document = _content(file)
            yield document
            with replaced(file) as fresh:
                fresh.write(tomlkit.dumps(document).encode())
                os.fchmod(fresh.fileno(), MODE)
    except OSError as error:
        raise of_system(error) from error


def _content(file: Path) -> tomlkit.TOMLDocument:
    if not file.exists():
        document = tomlkit.document()
        document.add(tomlkit.comment(HEAD))
        return document
    read_trust(file)  # says what is wrong in it
    return tomlkit.parse(file.read_text())
