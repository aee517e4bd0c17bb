"""Ed25519 keys: the text form of public ones, the files of private ones.

A private key is a PKCS#8 PEM file that only its owner may read, perhaps encrypted with a
passphrase; `<file>.pub` beside it has the public key as one line of text.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from tasks.errors import BadInput, of_system

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from securesystemslib.signer import CryptoSigner, SSlibKey

PREFIX = "ed25519:"
RAW_BYTES = 32
SHOWN_CHARS = 12


@dataclass(frozen=True)
class PublicKey:
    """A public key: `raw` is its 32 bytes."""

    raw: bytes

    @classmethod
    def parse(cls, text: str) -> PublicKey:
        """The key written as `text`, such as `ed25519:mV2…=`; `BadInput` if it is none."""
        prefix, _, encoded = text.strip().partition(":")
        with suppress(binascii.Error, ValueError):
            raw = base64.b64decode(encoded, validate=True)
            if f"{prefix}:" == PREFIX and len(raw) == RAW_BYTES:
                return cls(raw)
        raise BadInput(
            f"{text!r} is not a public key",
            f"one looks like {PREFIX} and 44 characters; `stagefarm keys show` prints yours",
        )

    def __str__(self) -> str:
        return PREFIX + base64.b64encode(self.raw).decode()

    @property
    def short(self) -> str:
        """The beginning of the text form, for messages."""
        return str(self)[: len(PREFIX) + SHOWN_CHARS] + "…"

    @property
    def id(self) -> str:
        """The key id in signatures: 64 hex digits."""
        return self.verifier.keyid

    @cached_property
    def verifier(self) -> SSlibKey:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from securesystemslib.signer import SSlibKey

        return SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(self.raw))


@dataclass(frozen=True)
class PrivateKey:
    """A private key that was read from a file."""

    secret: Ed25519PrivateKey

    @cached_property
    def public(self) -> PublicKey:
        return PublicKey(self.secret.public_key().public_bytes_raw())

    @cached_property
    def signer(self) -> CryptoSigner:
        from securesystemslib.signer import CryptoSigner

        return CryptoSigner(self.secret, self.public.verifier)


def public_file(file: Path) -> Path:
    """Where the public key of the private key in `file` is."""
    return file.with_name(f"{file.name}.pub")


def new_key(file: Path, passphrase: str = "") -> PrivateKey:
    """Make a key and write it to `file`; `BadInput` if there is one already."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = PrivateKey(Ed25519PrivateKey.generate())
    encryption = (
        serialization.BestAvailableEncryption(passphrase.encode())
        if passphrase
        else serialization.NoEncryption()
    )
    pem = key.secret.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_new(file, pem)
        public_file(file).write_text(f"{key.public}\n")
    except FileExistsError:
        raise BadInput(f"{file} exists", "name another file with --file") from None
    except OSError as error:
        raise of_system(error) from error
    return key


def _write_new(file: Path, content: bytes) -> None:
    """Write `file`, readable by its owner only, whole or not at all, and never over another."""
    fresh = file.with_name(f".{file.name}.{uuid4().hex}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
        os.link(fresh, file)
    finally:
        fresh.unlink()


def read_key(file: Path, passphrase: str = "") -> PrivateKey:
    """The key in `file`; `BadInput` if there is none, if others may read it, or if it needs another
    passphrase."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    pem = _secret_content(file)
    try:
        secret = serialization.load_pem_private_key(pem, passphrase.encode() or None)
    except TypeError:
        why = "is encrypted" if not passphrase else "is not encrypted"
        hint = "set key_passphrase_file" if not passphrase else "unset key_passphrase_file"
        raise BadInput(f"the key {file} {why}", hint) from None
    except ValueError:
        raise BadInput(
            f"{file} is not a private key, or the passphrase is wrong", "stagefarm keys new"
        ) from None
    if not isinstance(secret, Ed25519PrivateKey):
        raise BadInput(f"{file} is not an Ed25519 key", "stagefarm keys new makes one")
    return PrivateKey(secret)


def _secret_content(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            if stat.S_IMODE(mode) & 0o077:
                raise BadInput(f"others may read the key {file}", f"chmod 600 {file}")
            return opened.read()
    except OSError as error:
        raise BadInput(
            f"cannot read the key {file}: {error.strerror}", "stagefarm keys new makes one"
        ) from error


def read_or_make(file: Path, passphrase: str = "") -> PrivateKey:
    """The key in `file`, which is made on first use, also by several processes at once."""
    if not file.exists():
        with suppress(BadInput):
            return new_key(file, passphrase)
    return read_key(file, passphrase)
