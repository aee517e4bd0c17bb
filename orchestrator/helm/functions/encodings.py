"""Sprig's checksums and base encodings."""

from __future__ import annotations

import base64
from collections.abc import Mapping

from orchestrator.helm.signature import Function
from orchestrator.helm.values import from_bytes, to_bytes

LETTERS_64 = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
LETTERS_32 = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")
PAD = 0x3D
LINE_BREAKS = b"\r\n"


def b64enc(text: str) -> str:
    return base64.b64encode(to_bytes(text)).decode()


def b64dec(text: str) -> str:
    """The decoded text; Go's error message, as text, if it is not base64."""
    data = to_bytes(text)
    fault = fault_64(data)
    if fault is not None:
        return f"illegal base64 data at input byte {fault}"
    return from_bytes(base64.b64decode(data.translate(None, LINE_BREAKS)))


def fault_64(data: bytes) -> int | None:
    """The offset in Go's error message; line breaks are counted, but ignored otherwise."""
    solid = [(at, byte) for at, byte in enumerate(data) if byte not in LINE_BREAKS]
    for index, (at, byte) in enumerate(solid):
        if byte in LETTERS_64:
            continue
        if byte != PAD or index % 4 < 2:
            return at
        if index % 4 == 2:
            if index + 1 == len(solid):
                return len(data)
            if solid[index + 1][1] != PAD:
                return solid[index + 1][0] - 1
        after = index + 4 - index % 4
        return solid[after][0] if after < len(solid) else None
    return len(data) - len(solid) % 4 if len(solid) % 4 else None


def b32enc(text: str) -> str:
    return base64.b32encode(to_bytes(text)).decode()


def b32dec(text: str) -> str:
    data = to_bytes(text).translate(None, LINE_BREAKS)
    fault = fault_32(data)
    if fault is not None:
        return f"illegal base32 data at input byte {fault}"
    return from_bytes(base64.b32decode(data))


def fault_32(data: bytes) -> int | None:
    for at, byte in enumerate(data):
        place, rest = at % 8, len(data) - at - 1
        if byte == PAD and place >= 2 and rest < 8:
            return padding_fault(data, at, place)
        if byte not in LETTERS_32:
            return at
    return len(data) - len(data) % 8 if len(data) % 8 else None


def padding_fault(data: bytes, at: int, place: int) -> int | None:
    """The offset of the error in the padding from `at` on, which fills a group of eight."""
    padding = data[at + 1 : at + 8 - place]
    if len(padding) + place < 7:
        return len(data)
    wrong = next((k for k, byte in enumerate(padding) if byte != PAD), None)
    if wrong is not None:
        return at + wrong
    return at if place in (3, 6) else None


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
