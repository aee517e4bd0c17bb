"""TLS with the farm's Redis: files that cannot be used, and why a server was refused."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tasks.errors import BadInput
from tasks.settings import Settings

OTHERWISE = (
    "is that its port for TLS? if it asks for certificates, set redis_cert_file and redis_key_file "
    "to one that it accepts"
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no TLS, in OpenSSL's words, and what to do."""

    reason: str
    hint: str


def refusal_of(error: BaseException) -> Refusal | None:
    """Why TLS failed; None if `error` has another cause."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, ssl.SSLCertVerificationError):
            return _untrusted(found.verify_message)
        if isinstance(found, ssl.SSLError):
            return Refusal(str(found.reason or found).replace("_", " ").lower(), OTHERWISE)
        found = found.__cause__ or found.__context__
    return None


def _untrusted(why: str) -> Refusal:
    if "mismatch" in why:
        hint = "redis_url has to name the server as its certificate does"
    else:
        hint = "set redis_ca_file to the certificate of the authority that signed it"
    return Refusal(f"its certificate is refused: {why}", hint)


def check_files(settings: Settings) -> None:
    """`BadInput` if a file for TLS cannot be used; an error of a connection would not name it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # the default one reads all authorities
    if file := settings.redis_ca_file:
        with _usable(f"redis_ca_file {file}", "a certificate"):
            context.load_verify_locations(file)
    if file := settings.redis_cert_file:
        key = settings.redis_key_file
        names = f"redis_cert_file {file}" + (f" with redis_key_file {key}" if key else "")
        with _usable(names, "a certificate and its key, with no passphrase"):
            context.load_cert_chain(file, key or None, password=lambda: "")


@contextmanager
def _usable(names: str, wanted: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:  # ssl.SSLError is one, without words for people
        why = "" if isinstance(error, ssl.SSLError) else f": {error.strerror}"
        raise BadInput(f"cannot use {names}{why}", f"it has to hold {wanted}, in PEM") from error
