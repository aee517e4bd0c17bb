"""What the gate finds: one difference or fault each, with a digest that waivers name."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import msgspec

from orchestrator.formats.gatefile import Verdict

__all__ = ["Finding", "Judgement", "StageKey", "Verdict"]


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Finding:
    """One thing that is wrong. `check` is the name of the check in the policy, `path` the file, the
    package or the test it is about; `before` and `after` are the values in the last published stage
    and in this one, empty where there is none. `message` is for people."""

    check: str
    path: str
    before: str = ""
    after: str = ""
    verdict: Verdict = Verdict.HOLD
    message: str = ""

    @property
    def digest(self) -> str:
        """The same for the same finding in every build: 64 hex digits, shown short."""
        texts = (self.check, self.path, self.before, self.after)
        # As bytes: names of files need not be valid text.
        identity = [text.encode("utf-8", "surrogateescape") for text in texts]
        return hashlib.sha256(msgspec.json.encode(identity)).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class StageKey:
    """Which stage of a release it is, whatever its build."""

    product: str
    variant: str = ""
    arch: str = ""
    subarch: str = ""

    def __str__(self) -> str:
        """`stage3 minimal-next x86-64bit.generic_64`: what patterns of stages are matched with."""
        queue = ".".join(part for part in (self.arch, self.subarch) if part)
        return " ".join(part for part in (self.product, self.variant, queue) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What the gate says of one stage. `against` is the build of the published stage that it was
    compared with, empty for the first one. `waived` are findings that somebody has accepted, which
    do not count."""

    stage: StageKey
    build: str
    sha256: str
    against: str = ""
    findings: tuple[Finding, ...] = ()
    waived: tuple[Finding, ...] = ()

    @property
    def verdict(self) -> Verdict:
        found = {finding.verdict for finding in self.findings}
        return next((one for one in (Verdict.HOLD, Verdict.WARN) if one in found), Verdict.PASS)
