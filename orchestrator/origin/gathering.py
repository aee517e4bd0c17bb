"""Gathers the evidence of a stage's ancestors, from wherever it lies.

Where it was found proves nothing; each piece is examined before it is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from orchestrator.origin.attestation import End, Why
from orchestrator.origin.evidence import (
    CARRIED_MAX_BYTES,
    GENERATIONS_MAX,
    REBUILDS_MAX,
    Carried,
    Evidence,
    Sealed,
    compact,
    envelopes,
    gate_name,
    lineage_name,
    read_lineage,
    rebuilds_name,
    sealed,
)
from orchestrator.origin.examine import Generation, examine
from orchestrator.origin.ring import Ring, envelope_of
from tasks.artifacts.provenance import job_name, result_name
from tasks.errors import StagefarmError, Untrusted
from tasks.results import SeedOrigin
from tasks.trust.statements import read_result

Read = Callable[[str], bytes | None]
"""The content of a file beside a tarball, by its name; None if there is none. Raises a
`StagefarmError` where that cannot be told, or the file is larger than it should be."""

Link = tuple[Evidence, Generation]


@dataclass(frozen=True, slots=True)
class Found:
    """The evidence of a stage, and the lineage that lies beside it, or what is wrong with that;
    None if there is none."""

    evidence: Evidence
    carried: Carried | StagefarmError | None = None

    @property
    def ancestors(self) -> tuple[Evidence, ...]:
        return self.carried.ancestors if isinstance(self.carried, Carried) else ()


Find = Callable[[str, SeedOrigin], Found | None]
"""Looks for the evidence of a stage by its digest, and where it came from. None if there is none; a
`StagefarmError` where that cannot be told."""


# What lies beside one tarball


def found_beside(tarball: str, sha256: str, read: Read) -> Found | None:
    """The evidence beside the tarball of that name and digest; None if there is none."""
    result = read(result_name(tarball))
    if result is None:
        return None
    job, lineage = read(job_name(tarball)), read(lineage_name(tarball))
    evidence = Evidence(
        name=tarball,
        sha256=sha256,
        result=sealed(result),
        job=sealed(job) if job is not None else None,
        gate=envelopes(read(gate_name(tarball)) or b""),
        rebuilds=envelopes(read(rebuilds_name(tarball)) or b""),
    )
    return Found(evidence, _carried(lineage) if lineage is not None else None)


def _carried(content: bytes) -> Carried | StagefarmError:
    try:
        return read_lineage(content)
    except Untrusted as error:
        return error


def with_rebuilds(evidence: Evidence, more: tuple[Sealed, ...]) -> Evidence:
    """The evidence with further rebuilds, each once."""
    known = dict.fromkeys((*evidence.rebuilds, *more))
    return msgspec.structs.replace(evidence, rebuilds=tuple(known)[:REBUILDS_MAX])


# The chain


@dataclass(slots=True)
class Gatherer:
    """Follows a chain from stage to seed."""

    find: Find
    ring: Ring

    def chain(self, first: Evidence) -> tuple[list[Link], End]:
        """The stage and its ancestors, and why there are no more. `Untrusted` if what is known of
        the stage itself is wrong."""
        chain = [(first, examine(first, self.ring))]
        while len(chain) <= GENERATIONS_MAX:
            if end := self._extend(chain):
                return chain, end
        del chain[GENERATIONS_MAX:]
        reason = f"only {GENERATIONS_MAX} generations are kept"
        return chain, End(why=Why.CUT, seed=chain[-1][1].seed, reason=reason)

    def _extend(self, chain: list[Link]) -> End | None:
        """Add the evidence of what the oldest stage was built from; or else say why not."""
        last = chain[-1][1]
        if not last.seed:
            return End(why=Why.PACKAGES)
        if any(last.seed == evidence.sha256 for evidence, _ in chain):
            return _lost(last.seed, "the chain goes in a circle")
        try:
            found = self.find(last.seed, last.origin)
            if not found:
                return End(why=Why.ROOT, seed=last.seed)
            chain.append(self._linked(found.evidence, last.seed))
        except StagefarmError as error:
            return _lost(last.seed, str(error))
        self._add_carried(chain, found.ancestors)
        return None

    def _linked(self, evidence: Evidence, sha256: str) -> Link:
        if evidence.sha256 != sha256:
            raise Untrusted(f"what was found is the evidence of {evidence.sha256[:12]}…")
        return evidence, examine(evidence, self.ring)

    def _add_carried(self, chain: list[Link], ancestors: tuple[Evidence, ...]) -> None:
        """Add what the youngest found carries, as far as it is sound: the rest is looked for."""
        for evidence in ancestors:
            seed = chain[-1][1].seed
            if evidence.sha256 != seed or any(seed == one.sha256 for one, _ in chain):
                return
            try:
                chain.append(self._linked(evidence, seed))
            except Untrusted:
                return


def within_limits(chain: Sequence[Evidence], end: End) -> tuple[list[Evidence], End]:
    """The stage and its ancestors as they are carried, and the end of that: the oldest are left out
    where there is no room for them."""
    kept, size = [chain[0]], 0
    for one in compact(chain[1:]):
        size += len(msgspec.json.encode(one)) + 1
        if size > CARRIED_MAX_BYTES:
            seed = read_result(envelope_of(kept[-1].result, kept[-1].name).payload).seed
            return kept, End(why=Why.CUT, seed=seed, reason="there is no room for older ones")
        kept.append(one)
    return kept, end


def _lost(seed: str, reason: str) -> End:
    return End(why=Why.LOST, seed=seed, reason=reason[:500])
