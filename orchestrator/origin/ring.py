"""The keys by which evidence is judged, and what is known of whoever signed it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING

from orchestrator.origin.evidence import Sealed
from tasks.errors import BadInput, Untrusted
from tasks.trust.envelope import PayloadType, from_text, signer_of
from tasks.trust.keys import PublicKey
from tasks.trust.policy import Entry, Trust

if TYPE_CHECKING:
    from securesystemslib.dsse import Envelope

SHOWN_CHARS = 16
NOBODY = Trust()

Keys = Mapping[PublicKey, Entry | None]
"""Known keys: without an entry, those that were given for the occasion."""


class Standing(StrEnum):
    """What a signature is worth to the reader. `known`: the key is in the trust file, or was given.
    `vouched`: a release whose key is known says whose key it is. `unknown`: the signature may be
    good, but anyone could have made it."""

    KNOWN = "known"
    VOUCHED = "vouched"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """Who signed: a name as the trust file or the release has it, empty if it is not known; and the
    public key, or the beginning of its id where the key itself is not at hand."""

    name: str = ""
    key: str = ""
    standing: Standing = Standing.UNKNOWN

    @property
    def counts(self) -> bool:
        return self.standing is not Standing.UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What an envelope is, for messages; the key that it says it was signed with, if it does; when
    it was made, in seconds since 1970, and for which queue, where that matters."""

    what: str
    kind: PayloadType = PayloadType.STATEMENT
    key: str = ""
    at: float | None = None
    queue: str = ""


@dataclass(frozen=True)
class Ring:
    """Keys of submitters, hosts and releases. `given` were named on the command line: for what, the
    user knows."""

    trust: Trust = NOBODY
    releases: tuple[PublicKey, ...] = ()
    given: tuple[PublicKey, ...] = ()

    def submitter_of(self, envelope: Envelope, claim: Claim) -> Signer:
        return _signer(envelope, claim, self._submitters)

    def host_of(self, envelope: Envelope, claim: Claim) -> Signer:
        return _signer(envelope, claim, self._hosts)

    def release_of(self, envelope: Envelope, claim: Claim) -> Signer:
        return _signer(envelope, claim, self._releases)

    @cached_property
    def _submitters(self) -> Keys:
        return self._with_given(self.trust.submitters)

    @cached_property
    def _hosts(self) -> Keys:
        return self._with_given(self.trust.hosts)

    @cached_property
    def _releases(self) -> Keys:
        return self._with_given(Entry(name="the release", key=str(key)) for key in self.releases)

    def _with_given(self, entries: Iterable[Entry]) -> Keys:
        return {**dict.fromkeys(self.given), **{entry.public: entry for entry in entries}}


def _signer(envelope: Envelope, claim: Claim, known: Keys) -> Signer:
    """Who signed; `Untrusted` if the signature is not good, or its key is not valid any more
    for what it signed. A key that is not known is no error."""
    if envelope.payload_type != claim.kind:
        raise Untrusted(f"{claim.what} is something else: {envelope.payload_type[:80]!r}")
    if found := signer_of(envelope, claim.kind, known):
        return _known(found, known[found], claim)
    _require_none_of(envelope, known, claim)
    return _unknown(envelope, claim)


def envelope_of(sealed: Sealed, what: str) -> Envelope:
    try:
        return from_text(sealed.text)
    except Untrusted as error:
        raise Untrusted(f"{what}: {error}") from error


def _known(key: PublicKey, entry: Entry | None, claim: Claim) -> Signer:
    if entry is None:
        return Signer(key=str(key), standing=Standing.KNOWN)
    if entry.revoked:
        raise Untrusted(f"{claim.what} is signed with a revoked key of {entry.name}")
    if claim.at is not None and (reason := entry.ended(claim.at)):
        raise Untrusted(f"{claim.what}: the key of {entry.name} {reason}")
    if claim.queue and not entry.serves(claim.queue):
        raise Untrusted(f"{claim.what}: {entry.name} is not trusted for {claim.queue}")
    return Signer(name=entry.name, key=str(key), standing=Standing.KNOWN)


def _require_none_of(envelope: Envelope, known: Keys, claim: Claim) -> None:
    """What says that it was signed with a known key, and was not, has been changed."""
    for key, entry in known.items():
        if key.id in envelope.signatures:
            who = entry.name if entry else key.short
            raise Untrusted(f"{claim.what} was changed: the signature of {who} does not fit it")


def _unknown(envelope: Envelope, claim: Claim) -> Signer:
    if not envelope.signatures:
        raise Untrusted(f"{claim.what} is not signed")
    if not claim.key:
        return Signer(key=f"key id {next(iter(envelope.signatures))[:SHOWN_CHARS]}…")
    try:
        named = PublicKey.parse(claim.key)
    except BadInput as error:
        raise Untrusted(f"{claim.what} names no key: {claim.key[:80]!r}") from error
    if not signer_of(envelope, claim.kind, [named]):
        raise Untrusted(f"{claim.what} was changed: it is not signed with the key that it names")
    return Signer(key=str(named))
