"""The pointer of a channel: `<channel>.json`, the one file of a mirror that changes and is signed.

It is a DSSE envelope. Whoever has it and the public key can verify everything else by digests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.release.catalog import CATALOGS, SHA256, Catalog
from tasks.errors import Untrusted
from tasks.model import encode
from tasks.trust.envelope import PayloadType, content, from_text, signed, signer_of, to_text
from tasks.trust.keys import PrivateKey, PublicKey

POINTER_MAX_BYTES = 64 * 1024
CATALOG_MAX_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointer:
    """Which generation of a channel is current: its `version`, which only rises, and the digest and
    size of its catalog. Times are in seconds since 1970."""

    release: str
    channel: str
    version: int
    created_at: float
    expires_at: float
    catalog: str
    catalog_bytes: int

    @property
    def catalog_path(self) -> str:
        return f"{CATALOGS}/{self.catalog}.json"


def pointer_name(channel: str) -> str:
    return f"{channel}.json"


def pointer_to(catalog: Catalog, expires_s: float) -> Pointer:
    return Pointer(
        release=catalog.release,
        channel=catalog.channel,
        version=catalog.version,
        created_at=catalog.created_at,
        expires_at=catalog.created_at + expires_s,
        catalog=catalog.sha256,
        catalog_bytes=len(catalog.content),
    )


def sign_pointer(pointer: Pointer, key: PrivateKey) -> bytes:
    """The content of `<channel>.json`."""
    return to_text(signed(encode(pointer), PayloadType.POINTER, key)).encode() + b"\n"


def read_pointer(text: bytes, keys: Sequence[PublicKey], what: str) -> Pointer:
    """The pointer that one of `keys` signed; `Untrusted` if none did. `what` names the file in
    errors."""
    try:
        envelope = from_text(text.decode())
    except (Untrusted, UnicodeDecodeError) as error:
        raise Untrusted(f"{what} is not a signed pointer: {error}") from error
    if not signer_of(envelope, PayloadType.POINTER, keys):
        trusted = " or ".join(key.short for key in keys)
        raise Untrusted(
            f"{what} is not signed with {trusted}",
            "if the release has a new key, its maintainers publish it; give it with --key",
        )
    pointer = content(envelope, Pointer)
    if not 0 <= pointer.catalog_bytes <= CATALOG_MAX_BYTES:
        raise Untrusted(f"{what} names a catalog of {pointer.catalog_bytes:,} bytes")
    if not SHA256.fullmatch(pointer.catalog):
        raise Untrusted(f"{what} names an impossible catalog: {pointer.catalog!r}")
    return pointer
