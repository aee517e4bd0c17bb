"""What the steps of a build give: artifacts, checkpoints, where the seed came from; why it failed.

Sent between processes and machines as JSON, as the types of `tasks.model` are.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A finished file: `path` is a path on the host, or a URL once it is in the store."""

    name: str
    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedOrigin:
    """Where the tarball of a seed came from, and by what the host knew it: `sha256`, `sha512`,
    `checksums URL`, `openpgp FINGERPRINT`, `pointer openpgp FINGERPRINT`, or `stagefarm BUILD`
    for the signed result of another build. Empty: whatever the address gave."""

    uri: str = ""
    verified: tuple[str, ...] = ()


NO_ORIGIN = SeedOrigin()


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The state of a build after step `step` of attempt `attempt`, kept in the store: the root
    filesystem and the rest of the workspace, each as a tarball. `lineage` is a digest of
    everything that led to it (`tasks.artifacts.fingerprint`), `seed` that of the seed it started
    from, `origin` where that came from, and `signed` the envelope of its host
    (`tasks.trust.statements`)."""

    attempt: int
    step: int
    lineage: str
    rootfs: Artifact
    workspace: Artifact
    seed: str = ""
    signed: str = ""
    origin: SeedOrigin = NO_ORIGIN


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """The result of a step, for later steps and the record; `sidecars` are the files that describe
    the artifacts; `seed` is the digest of the seed that the root filesystem started from, if there
    is one, and `origin` where that came from."""

    artifacts: tuple[Artifact, ...] = ()
    sidecars: tuple[Artifact, ...] = ()
    seed: str = ""
    origin: SeedOrigin = NO_ORIGIN
    checkpoint: Checkpoint | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberedLine:
    """A line of a log, counted from 1."""

    number: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why a build failed, as its log says (`tasks.causes`). `rule` is the one that found it, `line`
    the line of the log that it matched (0: none, the error itself), `excerpt` some lines around it.
    Like failures share a `fingerprint`. Everything here comes from a log, and is as hostile."""

    rule: str
    kind: str
    message: str
    fingerprint: str
    phase: str = ""
    package: str = ""
    line: int = 0
    excerpt: tuple[NumberedLine, ...] = ()


class Blamed(StrEnum):
    """What a second try says of a failure: it passed on another host, so the first is suspect; it
    failed alike there, so the stage is broken; or something else became of it."""

    HOST = "host"
    STAGE = "stage"
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondTry:
    """A build that failed on `host`, and what became of it on `other`, empty if no other host took
    it. `reason` and `fingerprint` are those of the failure, and `url` is its folder in the
    store."""

    build: str
    outcome: Blamed
    host: str
    other: str = ""
    reason: str = ""
    fingerprint: str = ""
    url: str = ""

    @property
    def told(self) -> str:
        """What became of it, as the end of a sentence about the build."""
        match self.outcome:
            case Blamed.HOST:
                return f"failed on {self.host} and passed on {self.other}: {self.host} is suspect"
            case Blamed.STAGE:
                return f"fails on {self.other} as on {self.host}: the stage is broken"
            case Blamed.UNCLEAR:
                where = f"on {self.other}" if self.other else "elsewhere"
                return f"failed on {self.host}; its second try {where} does not say why"
