"""What a publisher says of a stage's ancestors, signed with the release's key: which there are,
whose signatures it has verified by its own trust file, and where the chain ends.

So who knows only the release's key sees that no ancestor is missing, and whose keys they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import msgspec

from orchestrator.origin.evidence import Evidence, Sealed, sealed
from orchestrator.origin.examine import Generation, Vouched
from orchestrator.origin.ring import Claim, Ring, Signer, envelope_of
from tasks.errors import Untrusted
from tasks.trust.builds import digest_of
from tasks.trust.envelope import PayloadType, signed, to_text
from tasks.trust.keys import PrivateKey
from tasks.trust.statements import IN_TOTO_NAMES, STATEMENT, Digested

LINEAGE: Literal["urn:stagefarm:lineage:v1"] = "urn:stagefarm:lineage:v1"
WHAT = "the publisher's statement"


class Why(StrEnum):
    """Why a chain ends. `root`: the seed was not made by a farm that leaves evidence; `packages`:
    there is no seed; `lost`: there may be more, which could not be had; `cut`: the older ones are
    not kept any more; `missing`: there is no lineage beside the stage."""

    ROOT = "root"
    PACKAGES = "packages"
    LOST = "lost"
    CUT = "cut"
    MISSING = "missing"


class End(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The end of a chain: `seed` is the digest of what its oldest stage was built from."""

    why: Why
    seed: str = ""
    reason: str = ""


class Predicate(msgspec.Struct, frozen=True, kw_only=True):
    """The stage itself and its ancestors, the youngest first."""

    generations: tuple[Vouched, ...]
    end: End


class Statement(msgspec.Struct, frozen=True, kw_only=True, rename=IN_TOTO_NAMES):
    type: Literal["https://in-toto.io/Statement/v1"] = STATEMENT
    predicate_type: Literal["urn:stagefarm:lineage:v1"] = LINEAGE
    subject: tuple[Digested, ...]
    predicate: Predicate


@dataclass(frozen=True, slots=True)
class Attested:
    """A statement that was read, and who signed it."""

    predicate: Predicate
    by: Signer


def sign_lineage(chain: Sequence[tuple[Evidence, Generation]], end: End, key: PrivateKey) -> Sealed:
    """The first line of a lineage file, of what the publisher has verified."""
    first, _ = chain[0]
    statement = Statement(
        subject=(Digested(name=first.name, digest={"sha256": first.sha256}),),
        predicate=Predicate(
            generations=tuple(_vouched(evidence, found) for evidence, found in chain), end=end
        ),
    )
    envelope = signed(msgspec.json.encode(statement), PayloadType.STATEMENT, key)
    return sealed(to_text(envelope).encode())


def _vouched(evidence: Evidence, found: Generation) -> Vouched:
    counted = found.host.counts
    return Vouched(
        sha256=evidence.sha256,
        result=_digest(evidence.result) if counted else "",
        host=found.host.name if counted else "",
        submitter=_name(found.submitter) if counted else "",
        rebuilders=dict(_rebuilders(evidence, found)) if counted else {},
    )


def _name(signer: Signer | None) -> str:
    return signer.name if signer and signer.counts else ""


def _rebuilders(evidence: Evidence, found: Generation) -> Iterable[tuple[str, str]]:
    for text, rebuilt in zip(evidence.rebuilds, found.rebuilds, strict=False):
        if rebuilt.host.counts:
            yield _digest(text), rebuilt.host.name


def _digest(text: Sealed) -> str:
    return digest_of(envelope_of(text, "the evidence"))


def read_attestation(text: Sealed, ring: Ring, sha256: str) -> Attested:
    """What a publisher says of the ancestors of the tarball with that digest. `Untrusted` if it is
    about another one, or was changed."""
    envelope = envelope_of(text, WHAT)
    by = ring.release_of(envelope, Claim(what=WHAT))
    try:
        found = msgspec.json.decode(envelope.payload, type=Statement)
    except msgspec.MsgspecError as error:
        raise Untrusted(f"cannot read {WHAT}: {error}") from error
    if sha256 not in {one.digest.get("sha256") for one in found.subject}:
        raise Untrusted(f"{WHAT} is about another stage: the lineage is not that of this one")
    return Attested(found.predicate, by)
