"""A stage and its ancestors, verified link by link: each was built from the next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from orchestrator.origin.attestation import Attested, End, Why, read_attestation
from orchestrator.origin.evidence import Carried, Evidence
from orchestrator.origin.examine import Generation, Vouched, examine
from orchestrator.origin.ring import Ring, Signer
from tasks.errors import StagefarmError, Untrusted
from tasks.results import NO_ORIGIN, SeedOrigin

SHOWN_CHARS = 12
NO_CARRIED: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """What is wrong with generation `number`: 0 is the stage itself."""

    number: int
    reason: str

    def __str__(self) -> str:
        return f"generation {self.number}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """The generations that were verified, the stage itself first; where the chain breaks, if it
    does; how it ends, and who vouches for that (None: this machine looked itself)."""

    generations: tuple[Generation, ...]
    end: End
    broken: Broken | None = None
    by: Signer | None = None

    @property
    def reproduced(self) -> int:
        return sum(one.reproduced for one in self.generations)

    @property
    def origin(self) -> SeedOrigin:
        """Where the seed of the oldest generation came from."""
        return self.generations[-1].origin if self.generations else NO_ORIGIN

    @property
    def is_shown(self) -> bool:
        """Whether whom the reader knows has signed the stage, and says where its chain ends, and
        nothing in between is missing or wrong."""
        if self.broken or self.end.why is Why.MISSING or not (self.by is None or self.by.counts):
            return False
        return bool(self.generations) and self.generations[0].host.counts


def chain_of(
    chain: Sequence[Evidence], end: End, ring: Ring, vouched: Sequence[Vouched] = ()
) -> Lineage:
    """The lineage that the evidence shows, up to where it breaks."""
    found: list[Generation] = []
    try:
        found.extend(_verified(chain, ring, vouched))
    except Untrusted as error:
        broken = Broken(number=len(found), reason=str(error))
        return Lineage(generations=tuple(found), end=end, broken=broken)
    return Lineage(generations=tuple(found), end=end, broken=_at_the_end(found, end))


def _verified(
    chain: Sequence[Evidence], ring: Ring, vouched: Sequence[Vouched]
) -> Iterator[Generation]:
    before: Generation | None = None
    seen: set[str] = set()
    for number, evidence in enumerate(chain):
        if before:
            _require_link(before, evidence, chain[number + 1 :], seen)
        said = vouched[number] if number < len(vouched) else None
        before = examine(evidence, ring, said)
        seen.add(evidence.sha256)
        yield before


def _require_link(
    child: Generation, evidence: Evidence, later: Sequence[Evidence], seen: set[str]
) -> None:
    """`Untrusted` unless `child` was built from the tarball that the evidence is about."""
    if not child.seed:
        raise Untrusted("the one before was built from packages, not from a stage")
    if evidence.sha256 in seen:
        raise Untrusted("it is one of those before: the chain goes in a circle")
    if evidence.sha256 != child.seed:
        where = "is missing"
        if any(one.sha256 == child.seed for one in later):
            where = "stands further below: the order was changed"
        raise Untrusted(
            f"{child.name} was built from {_shown(child.seed)}, whose evidence {where}; "
            f"here is that of {_shown(evidence.sha256)}"
        )


def _at_the_end(found: Sequence[Generation], end: End) -> Broken | None:
    """What is wrong with how the chain is said to end."""
    seed = found[-1].seed if found else ""
    if end.why is Why.MISSING or seed == end.seed:
        return None
    said = f"the chain is said to end at {_shown(end.seed) if end.seed else 'packages'}"
    reason = f"the evidence of {_shown(seed) if seed else 'packages'} is missing: {said}"
    return Broken(number=len(found), reason=reason)


def _shown(sha256: str) -> str:
    return f"{sha256[:SHOWN_CHARS]}…"


# With what a publisher says


def carried_chain(first: Evidence, carried: Carried | StagefarmError | None, ring: Ring) -> Lineage:
    """The lineage of `first` by the lineage file beside it; `carried` is None where there is none,
    or what is wrong with it."""
    if carried is None:
        return chain_of([first], End(why=Why.MISSING), ring)
    if isinstance(carried, StagefarmError):
        return _unreadable(first, carried, ring)
    try:
        attested = read_attestation(carried.statement, ring, first.sha256)
    except Untrusted as error:
        return _unreadable(first, error, ring)
    return _attested_chain([first, *carried.ancestors], attested, ring)


def _unreadable(first: Evidence, error: StagefarmError, ring: Ring) -> Lineage:
    alone = chain_of([first], End(why=Why.MISSING), ring)
    broken = alone.broken or Broken(number=len(alone.generations), reason=str(error))
    return Lineage(generations=alone.generations, end=alone.end, broken=broken)


def _attested_chain(chain: Sequence[Evidence], attested: Attested, ring: Ring) -> Lineage:
    predicate, by = attested.predicate, attested.by
    found = chain_of(chain, predicate.end, ring, predicate.generations if by.counts else ())
    broken = found.broken or _other_than_said(chain, predicate.generations)
    return Lineage(generations=found.generations, end=found.end, broken=broken, by=by)


def _other_than_said(chain: Sequence[Evidence], said: Sequence[Vouched]) -> Broken | None:
    """The first place where the evidence is not what the publisher lists."""
    for number, (evidence, vouched) in enumerate(zip(chain, said, strict=False)):
        if evidence.sha256 != vouched.sha256:
            return Broken(number=number, reason="it is not the one that the publisher lists")
    if len(chain) == len(said):
        return None
    what = "is missing: the publisher lists it" if len(chain) < len(said) else "is listed by nobody"
    return Broken(number=min(len(chain), len(said)), reason=f"its evidence {what}")
