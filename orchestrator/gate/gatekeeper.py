"""Judges stages: each against the published one, by a policy and the waivers that count.

What was found is kept, by the digests of all that it depends on, so that a stage is not scanned
twice. Waivers come after that: a new one is heeded at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from orchestrator.gate.findings import Finding, Judgement, StageKey
from orchestrator.gate.history import SizeHistory
from orchestrator.gate.judge import find
from orchestrator.gate.policy import Policy
from orchestrator.gate.waivers import Waivers
from tasks import __version__
from tasks.artifacts.gate_tests import GateTest
from tasks.errors import Untrusted
from tasks.inspection.inventory import Inventory
from tasks.inspection.scan import scan
from tasks.inspection.stored import Inventories
from tasks.model import decode, encode
from tasks.reporting import Report, Silent

Remember = Callable[[bytes, Callable[[], bytes]], bytes]
"""Returns what is known for a key, or computes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A stage that is judged, or that another one is compared with. `pieces` has the content of its
    tarball, whose digest may be empty if it is not known; `tests` are the results of its tests,
    None where there are none."""

    stage: StageKey
    build: str
    tarball: str
    sha256: str
    size_bytes: int
    built_at: float = 0.0
    pieces: Callable[[], Iterator[bytes]]
    tests: Callable[[], Sequence[GateTest] | None] = lambda: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A judgement, and the inventories of the two stages: `before` is None for a first one."""

    judgement: Judgement
    before: Inventory | None
    after: Inventory


@dataclass(frozen=True, slots=True, kw_only=True)
class Gatekeeper:
    """Judges by a policy. `inventories` keeps those of tarballs, in which `build_paths` are looked
    for; `remember` keeps what was found."""

    policy: Policy
    inventories: Inventories
    remember: Remember
    history: SizeHistory
    build_paths: Sequence[bytes] = ()
    report: Report = field(default_factory=Silent)

    def compared(self, candidate: Subject, published: Subject | None, waivers: Waivers) -> Compared:
        """What `judge` says, with what it has looked at."""
        return Compared(
            judgement=self.judge(candidate, published, waivers),
            before=self.inventory(published) if published else None,
            after=self.inventory(candidate),
        )

    def learn(self, stage: StageKey, published: Iterable[Subject]) -> None:
        """Remember the sizes of what is published of a stage, as far as inventories are here."""
        known = self.history.knows(stage)
        found = [
            (subject.built_at, inventory)
            for subject in published
            if subject.sha256 not in known and (inventory := self.inventories.get(subject.sha256))
        ]
        self.history.learn(stage, found)

    def judge(self, candidate: Subject, published: Subject | None, waivers: Waivers) -> Judgement:
        """What the gate says of `candidate`. `BadInput` if it cannot be read as a stage,
        `Untrusted` if it is not the tarball that its host signed."""
        found = self._findings(candidate, published)
        waived = [one for one in found if waivers.of(candidate.stage, one)]
        return Judgement(
            stage=candidate.stage,
            build=candidate.build,
            sha256=candidate.sha256,
            against=published.build if published else "",
            findings=tuple(one for one in found if one not in waived),
            waived=tuple(waived),
        )

    def inventory(self, subject: Subject) -> Inventory:
        """What the stage holds, as it was signed."""

        found = self.inventories.of(subject.sha256, lambda: self._scanned(subject))
        if found.sha256 != subject.sha256:
            raise Untrusted(f"{subject.tarball} is not what was built: its sha256 differs")
        return found

    def known(self, subject: Subject) -> Subject:
        """The subject with the digest of its tarball, which is read if that is empty."""
        if subject.sha256:
            return subject
        found = self._scanned(subject)
        self.inventories.put(found)
        return replace(subject, sha256=found.sha256, size_bytes=found.size_bytes)

    def _scanned(self, subject: Subject) -> Inventory:
        return scan(
            subject.pieces(),
            name=subject.tarball,
            report=self.report,
            size_bytes=subject.size_bytes,
            build_paths=self.build_paths,
        )

    def _findings(self, candidate: Subject, published: Subject | None) -> tuple[Finding, ...]:
        tests = candidate.tests()
        sizes = self.history.of(candidate.stage, self.policy.rules.learn_from)
        depends_on = (
            __version__,
            self.policy.sha256,
            candidate.stage,
            candidate.sha256,
            published.sha256 if published else "",
            tests,
            hashlib.sha256(encode(sizes)).hexdigest(),
        )

        def compute() -> bytes:
            before = self.inventory(published) if published else None
            after = self.inventory(candidate)
            rules, stage = self.policy.rules, candidate.stage
            return encode(find(after, before, rules, stage=stage, sizes=sizes, tests=tests))

        return decode(self.remember(encode(depends_on), compute), tuple[Finding, ...])
