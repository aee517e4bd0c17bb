"""Sprig's checksums and base encodings."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping

from orchestrator.helm.signature import Function
from orchestrator.helm.values import from_bytes, to_bytes

BASE64 = re.compile(rb"[A-Za-z0-9+/]*={0,2}")
BASE32 = re.compile(rb"[A-Z2-7]*={0,6}")


def b64enc(text: str) -> str:
    return base64.b64encode(to_bytes(text)).decode()


def b64dec(text: str) -> str:
    """What the text stands for; Go's complaint, as a text, if it is not base64."""
    data = re.sub(rb"[\r\n]", b"", to_bytes(text))
    if not BASE64.fullmatch(data) or len(data) % 4:
        return corrupt("base64", data, BASE64)
    try:
        return from_bytes(base64.b64decode(data))
    except binascii.Error:
        return corrupt("base64", data, BASE64)


def b32enc(text: str) -> str:
    return base64.b32encode(to_bytes(text)).decode()


def b32dec(text: str) -> str:
    data = re.sub(rb"[\r\n]", b"", to_bytes(text))
    if not BASE32.fullmatch(data) or len(data) % 8:
        return corrupt("base32", data, BASE32)
    try:
        return from_bytes(base64.b32decode(data))
    except binascii.Error:
        return corrupt("base32", data, BASE32)


def corrupt(name: str, data: bytes, pattern: re.Pattern[bytes]) -> str:
    found = pattern.match(data)
    assert found
    whole = found.end() if found.end() < len(data) else len(data) - len(data) % 4
    return f"illegal {name} data at input byte {whole}"


def sha1sum(text: str) -> str:
    import hashlib

    return hashlib.sha1(to_bytes(text), usedforsecurity=False).hexdigest()


def sha256sum(text: str) -> str:
    import hashlib

    return hashlib.sha256(to_bytes(text)).hexdigest()


def sha512sum(text: str) -> str:
    import hashlib

    return hashlib.sha512(to_bytes(text)).hexdigest()


def adler32sum(text: str) -> str:
    import zlib

    return str(zlib.adler32(to_bytes(text)))


FUNCTIONS: Mapping[str, Function] = {
    "adler32sum": adler32sum,
    "b32dec": b32dec,
    "b32enc": b32enc,
    "b64dec": b64dec,
    "b64enc": b64enc,
    "sha1sum": sha1sum,
    "sha256sum": sha256sum,
    "sha512sum": sha512sum,
}
