"""DSSE envelopes: a payload and its signatures, as securesystemslib signs and verifies them.

The signed bytes are kept as they are, so no canonical form is needed.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from tasks.errors import StagefarmError, Untrusted
from tasks.model import decode
from tasks.trust.keys import PrivateKey, PublicKey

if TYPE_CHECKING:
    from securesystemslib.dsse import Envelope

T = TypeVar("T")

UNSIGNED = "[]"
"""The text of no signatures."""


class PayloadType(StrEnum):
    """What a signature is for; a signature of one kind is none of another."""

    BUILD = "application/vnd.stagefarm.build+json"
    CHECKPOINT = "application/vnd.stagefarm.checkpoint+json"
    POINTER = "application/vnd.stagefarm.pointer+json"
    STATEMENT = "application/vnd.in-toto+json"
    WAIVER = "application/vnd.stagefarm.waiver+json"


def signed(payload: bytes, kind: PayloadType, key: PrivateKey) -> Envelope:
    from securesystemslib.dsse import Envelope

    envelope = Envelope(payload, kind, {})
    envelope.sign(key.signer)
    return envelope


def signatures_of(envelope: Envelope) -> str:
    """The signatures alone, as JSON."""
    return json.dumps(envelope.to_dict()["signatures"])


def with_payload(payload: str, signatures: str, kind: PayloadType) -> Envelope:
    """The envelope of a payload and signatures that were stored apart; `Untrusted` if they are
    malformed."""
    encoded = base64.b64encode(payload.encode()).decode()
    return _envelope(
        {"payload": encoded, "payloadType": str(kind), "signatures": _json(signatures)}
    )


def to_text(envelope: Envelope) -> str:
    """The envelope as one line of JSON."""
    return json.dumps(envelope.to_dict())


def from_text(text: str) -> Envelope:
    """The envelope that `to_text` wrote; `Untrusted` if it is malformed."""
    return _envelope(_json(text))


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Untrusted(f"the signature is malformed: {error}") from error


def _envelope(value: Any) -> Envelope:
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import Error

    try:
        return Envelope.from_dict(value)
    except (Error, KeyError, TypeError, ValueError) as error:
        raise Untrusted(f"the signature is malformed: {error}") from error


def signer_of(envelope: Envelope, kind: PayloadType, keys: Iterable[PublicKey]) -> PublicKey | None:
    """The key among `keys` that signed the envelope, None if none of them did."""
    from securesystemslib.exceptions import Error

    by_id = {key.id: key for key in keys}
    if envelope.payload_type != kind or not by_id:
        return None
    try:
        found = envelope.verify([key.verifier for key in by_id.values()], 1)
    except Error:
        return None
    return by_id[next(iter(found))]


def content(envelope: Envelope, kind: type[T]) -> T:
    """The payload as a `kind`. `Untrusted` if it is not one, or says something that `kind` has no
    field for: what is not understood is not agreed to."""
    try:
        value = decode(envelope.payload, kind)
    except StagefarmError as error:
        raise Untrusted(f"cannot read what was signed: {error}") from error
    said, understood = msgspec.json.decode(envelope.payload), msgspec.to_builtins(value)
    if unknown := _unknown(said, understood, ""):
        raise Untrusted(
            f"what was signed has the unknown field {unknown}",
            "a newer stagefarm signed it; update this one",
        )
    return value


def _unknown(said: Any, understood: Any, path: str) -> str:
    """The path of the first field in `said` that is not in `understood`, which was read from it;
    empty if there is none."""
    if isinstance(said, dict):
        for name, value in said.items():
            here = f"{path}.{name}".lstrip(".")
            if name not in understood:
                return here
            if found := _unknown(value, understood[name], here):
                return found
    elif isinstance(said, list):
        for number, (one, other) in enumerate(zip(said, understood, strict=True)):
            if found := _unknown(one, other, f"{path}[{number}]"):
                return found
    return ""
