"""Verifies the bundle of the submitter's folder, and unpacks it on the host."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tasks.archive.tarball import extract
from tasks.errors import BuildFailed, SourceFailed
from tasks.reporting import Silent


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def unpack(data: bytes | None, digest: str, folder: Path) -> None:
    """Unpack the bundle `data`, whose sha256 is `digest`, into `folder`; `BuildFailed` if it is no
    longer kept, is damaged, or cannot be unpacked within the folder."""
    if data is None:
        raise BuildFailed("the submitter's folder is no longer kept", "submit the build again")
    if digest_of(data) != digest:
        raise BuildFailed(
            "the bundle of the submitter's folder is damaged", "submit the build again"
        )
    bundle = folder.with_name(f"{folder.name}.tar.zst")
    bundle.write_bytes(data)
    try:
        extract(bundle, folder, report=Silent())
    except SourceFailed as error:
        raise BuildFailed(f"the submitter's folder cannot be unpacked: {error}") from error
    finally:
        bundle.unlink()
