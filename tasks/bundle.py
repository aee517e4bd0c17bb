"""The submitter's folder on a host: checked, and unpacked into the build's home."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import zstandard

from tasks.errors import BuildFailed


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def unpack(data: bytes | None, digest: str, folder: Path) -> None:
    """Unpack the bundle `data`, whose sha256 is `digest`, into `folder`; `BuildFailed` if it is
    gone or not what was submitted. What would leave the folder is refused (PEP 706)."""
    if data is None:
        raise BuildFailed("the submitter's folder is no longer kept", "submit the build again")
    if digest_of(data) != digest:
        raise BuildFailed("the submitter's folder arrived damaged", "submit the build again")
    try:
        with (
            zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)) as stream,
            tarfile.open(fileobj=stream, mode="r|") as tar,
        ):
            tar.extractall(folder, filter="data")
    except (tarfile.TarError, zstandard.ZstdError, OSError) as error:
        raise BuildFailed(f"the submitter's folder cannot be unpacked: {error}") from error
