"""Lets published stages carry where they come from: rebuilds that came after the build, and the
evidence of all ancestors.

The parent of a stage is known by the digest that the stage's host signed. What cannot be had holds
no publication up: it is recorded as not shown, or the next publication tries again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import msgspec

from orchestrator.origin.attestation import End, read_attestation, sign_lineage
from orchestrator.origin.evidence import (
    Carried,
    Evidence,
    envelopes,
    lineage_name,
    rebuilds_name,
    write_lineage,
)
from orchestrator.origin.examine import Outcome, examine
from orchestrator.origin.gathering import (
    Found,
    Gatherer,
    found_beside,
    with_rebuilds,
    within_limits,
)
from orchestrator.origin.ring import Ring
from orchestrator.release.catalog import Catalog, File, Stage
from orchestrator.release.evidence_finding import Finder
from orchestrator.release.made import with_file
from orchestrator.release.shelves import Shelves
from orchestrator.release.targets.target import Target
from tasks.artifacts.provenance import rebuilds_beside
from tasks.errors import HostUnfit, StagefarmError, Untrusted
from tasks.store.store import StoredFile
from tasks.trust.keys import PrivateKey

StageId = tuple[str, int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ancestry:
    """`ring` has whom the publisher trusts, `mirrors` the URLs that it publishes to."""

    ring: Ring
    key: PrivateKey
    store: Shelves
    mirrors: tuple[str, ...] = ()
    say: Callable[[str], object] = lambda _: None

    def complete(
        self, catalog: Catalog, sources: Mapping[str, StoredFile], targets: Sequence[Target]
    ) -> tuple[Catalog, dict[str, StoredFile]]:
        """The catalog, whose stages have what is known of their origin by now, and `sources` with
        the files that were made. What is in no source and not in the store is read from one of
        `targets`."""
        work = _Completion(self, dict(sources), targets)
        return replace(catalog, stages=work.done(catalog.stages)), work.sources


@dataclass(slots=True)
class _Completion:
    """One pass over the stages of a catalog: the oldest first, so that parents come before their
    children. `stages` are they as far as they are completed, `by_digest` one for each tarball, and
    `changed` the digests of those of which more is known than before."""

    ancestry: Ancestry
    sources: dict[str, StoredFile]
    targets: Sequence[Target]
    stages: dict[StageId, Stage] = field(default_factory=dict)
    by_digest: dict[str, StageId] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)

    def done(self, stages: Iterable[Stage]) -> tuple[Stage, ...]:
        given = tuple(stages)
        in_time = sorted(given, key=lambda stage: stage.built_at)
        for stage in in_time:
            self.by_digest.setdefault(stage.tarball.sha256, stage.id)
            self.stages[stage.id] = stage
        for step in (self._with_rebuilds, self._with_lineage):
            for stage in in_time:
                self.stages[stage.id] = self._safely(step, self.stages[stage.id])
        return tuple(self.stages[stage.id] for stage in given)

    def _safely(self, step: Callable[[Stage], Stage], stage: Stage) -> Stage:
        try:
            return step(stage)
        except StagefarmError as error:
            self.ancestry.say(f"{stage.build}: its origin is not shown: {error}")
            return stage

    # Rebuilds

    def _with_rebuilds(self, stage: Stage) -> Stage:
        """The stage with those recorded rebuilds that hosts known here have signed."""
        tarball = self.sources.get(stage.tarball.path) or self.ancestry.store.find(
            stage, stage.tarball
        )
        recorded = rebuilds_beside(tarball) if tarball else []
        if not recorded:
            return stage
        before = self._evidence(stage).evidence
        more = tuple(text for content in recorded for text in envelopes(content))
        evidence = self._comparable(with_rebuilds(before, more))
        if not evidence.rebuilds or evidence.rebuilds == before.rebuilds:
            return stage
        self.changed.add(stage.tarball.sha256)
        lines = "".join(f"{one.text}\n" for one in evidence.rebuilds)
        return self._adding(stage, rebuilds_name(stage.tarball.name), lines.encode())

    def _comparable(self, evidence: Evidence) -> Evidence:
        found = examine(evidence, self.ancestry.ring)
        kept = [
            text
            for text, rebuilt in zip(evidence.rebuilds, found.rebuilds, strict=True)
            if rebuilt.host.counts and rebuilt.outcome is not Outcome.UNRELATED
        ]
        return with_rebuilds(_without_rebuilds(evidence), tuple(kept))

    # Lineage

    def _with_lineage(self, stage: Stage) -> Stage:
        has_lineage = _sidecar(stage, lineage_name(stage.tarball.name))
        if has_lineage and not self.changed:
            return stage
        found = self._evidence(stage)
        if has_lineage:
            digests = {stage.tarball.sha256, *(one.sha256 for one in found.ancestors)}
            return self._refreshed(stage, found) if digests & self.changed else stage
        finder = Finder(
            store=self.ancestry.store,
            at_hand={sha256: partial(self._at_hand, sha256) for sha256 in self.by_digest},
            batch=stage.batch,
            mirrors=self.ancestry.mirrors,
        )
        chain, end = Gatherer(finder, self.ancestry.ring).chain(found.evidence)
        return self._carrying(stage, [evidence for evidence, _ in chain], end)

    def _refreshed(self, stage: Stage, found: Found) -> Stage:
        """The stage, whose ancestors have what is known of them by now."""
        if not isinstance(found.carried, Carried):
            raise Untrusted(f"its lineage cannot be read: {found.carried}")
        said = read_attestation(found.carried.statement, self.ancestry.ring, stage.tarball.sha256)
        if not said.by.counts:
            raise Untrusted("its lineage is not signed with the key of the release")
        ancestors = [
            self._at_hand(one.sha256).evidence if one.sha256 in self.by_digest else one
            for one in found.ancestors
        ]
        return self._carrying(stage, [found.evidence, *ancestors], said.predicate.end)

    def _carrying(self, stage: Stage, chain: list[Evidence], end: End) -> Stage:
        kept, end = within_limits(chain, end)
        statement = sign_lineage(
            [(one, examine(one, self.ancestry.ring)) for one in kept], end, self.ancestry.key
        )
        name = lineage_name(stage.tarball.name)
        return self._adding(stage, name, write_lineage(statement, kept[1:]))

    # Files

    def _at_hand(self, sha256: str) -> Found:
        return self._evidence(self.stages[self.by_digest[sha256]])

    def _evidence(self, stage: Stage) -> Found:
        """What lies beside the tarball of a stage of this generation."""
        name, sha256 = stage.tarball.name, stage.tarball.sha256
        found = found_beside(name, sha256, lambda beside: self._content(stage, beside))
        if not found:
            raise Untrusted(f"{stage.build} is not signed")
        return found

    def _content(self, stage: Stage, name: str) -> bytes | None:
        file = _sidecar(stage, name)
        if not file:
            return None
        content = self._small(stage, file)
        if hashlib.sha256(content).hexdigest() != file.sha256:
            raise Untrusted(f"{name} is not what the catalog says")
        return content

    def _small(self, stage: Stage, file: File) -> bytes:
        stored = self.sources.get(file.path) or self.ancestry.store.find(stage, file)
        if stored:
            return stored.read(file.size_bytes)
        for target in self.targets:
            content = target.read(file.path, file.size_bytes)
            if content is not None:
                return content
        raise HostUnfit(f"{file.path} is neither in the store nor on a mirror")

    def _adding(self, stage: Stage, name: str, content: bytes) -> Stage:
        """The stage with a file, in the place of one of the same name."""
        changed, made = with_file(stage, name, content)
        self.sources |= made
        return changed


def _sidecar(stage: Stage, name: str) -> File | None:
    return next((file for file in stage.sidecars if file.name == name), None)


def _without_rebuilds(evidence: Evidence) -> Evidence:
    return msgspec.structs.replace(evidence, rebuilds=())
