"""The store that the settings name, and the files that URLs name."""

from __future__ import annotations

from tasks.errors import HostUnfit
from tasks.settings import Settings
from tasks.store.folder import FileStore, FolderFile, file_of
from tasks.store.objects import Objects
from tasks.store.s3 import S3File, S3Store
from tasks.store.s3_access import Access
from tasks.store.store import Store, StoredFile

S3 = "s3://"


def open_store(settings: Settings) -> Store:
    """The store at `store_url`; `BadInput` if that is none. Nothing is asked of it yet."""
    if not settings.store.startswith(S3):
        return FileStore.at(settings.store)
    return S3Store(Objects.at(settings.store, Access.of(settings)))


def file_at(url: str, settings: Settings) -> StoredFile:
    """The file at `url`, `file://` or `s3://bucket/key`, there or not."""
    if not url.startswith(S3):
        return FolderFile(file_of(url))
    bucket, _, path = url.removeprefix(S3).partition("/")
    return S3File(Objects.at(f"{S3}{bucket}", Access.of(settings)), path)


def stored_file(url: str, settings: Settings) -> StoredFile:
    """The same for a URL that the ledger gives, which is only a place to look. `HostUnfit` for a
    bucket other than that of `store_url`: whoever writes to Redis must not choose where this
    machine goes with its credentials."""
    if url.startswith(S3) and _bucket(url) != _bucket(settings.store):
        raise HostUnfit(
            f"{url} is not in the store of this machine, {settings.store}",
            "set store_url to that of the farm",
        )
    return file_at(url, settings)


def _bucket(url: str) -> str:
    return url.removeprefix(S3).partition("/")[0] if url.startswith(S3) else ""
