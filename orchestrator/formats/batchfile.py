"""The format of batch files."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from orchestrator.formats.reader import (
    Count,
    Key,
    Seconds,
)
from orchestrator.formats.spec import NEVER, NO_LIMIT

BATCH = "the batch file's folder"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchEntry:
    """One or several jobs of a specfile, each built once for every combination of the matrix."""

    specfile: Annotated[str, Key("Specfile of the jobs.", relative_to=BATCH)]
    job: Annotated[str, Key("The job to build.")] = ""
    jobs: Annotated[
        tuple[str, ...], Key("The jobs to build; every job of the specfile if both are left out.")
    ] = ()
    matrix: Annotated[
        dict[str, tuple[Any, ...]],
        Key("Options, each with a list of values: one build for every combination."),
    ] = field(default_factory=dict)
    exclude: Annotated[
        tuple[dict[str, Any], ...],
        Key("Combinations of the matrix to leave out; an entry may name only some of the options."),
    ] = ()
    options: Annotated[
        dict[str, Any], Key("Options of every build of the entry; they override those of the job.")
    ] = field(default_factory=dict)
    priority: Annotated[
        int, Key("From 0 to 8: how urgent the builds are; each step is worth six hours of waiting.")
    ] = 0
    max_age: Annotated[
        Seconds,
        Key("How old these stages may become; default: as the release file says for its stages."),
    ] = NO_LIMIT
    optional: Annotated[bool, Key("The batch succeeds even if these builds fail.")] = False
    timeout: Annotated[Seconds, Key("Time limit of each build; 0: that of the job.")] = NO_LIMIT


class Missed(StrEnum):
    """What becomes of a night that was missed while no supervisor ran."""

    RUN = "run"
    SKIP = "skip"


class Overlap(StrEnum):
    """What becomes of a night that is due while the night before goes on."""

    SKIP = "skip"
    WAIT = "wait"
    ALLOW = "allow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """When nights of a batch are due."""

    LONE: ClassVar[bool] = True

    cron: Annotated[str, Key("When: minute, hour, day of the month, month, day of the week.")]
    timezone: Annotated[str, Key("Time zone of `cron`, such as Europe/Berlin.")] = "UTC"
    missed: Annotated[
        Missed,
        Key("Whether the newest night that was missed while no supervisor ran is caught up."),
    ] = Missed.RUN
    overlap: Annotated[
        Overlap,
        Key("What becomes of a night that is due while builds of the night before go on."),
    ] = Overlap.SKIP


class Unchanged(StrEnum):
    """What becomes of a stage in a night in which nothing that it is made of has changed."""

    BUILD = "build"
    SKIP = "skip"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """What becomes of a stage that fails night after night; 0: nothing."""

    backoff_after: Annotated[
        Count, Key("After so many failures in a row it is built every 2nd night, then 4th, 8th.")
    ] = NEVER
    leave_after: Annotated[
        Count, Key("After so many it is built no more, until a person has it return.")
    ] = NEVER


NO_FAILURES = Failures()


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchInput:
    """A git repository that a batch is built from. Its ref is looked up when the batch is made."""

    SHORT: ClassVar[str] = "git"

    git: Annotated[str, Key("URL of the repository.")]
    ref: Annotated[str, Key("Branch, tag or whole commit id; HEAD is the server's branch.")] = (
        "HEAD"
    )
    path: Annotated[
        str, Key("Where its files are in the batch's folder; default: its name, `.`: all of it.")
    ] = ""
    signers: Annotated[
        str,
        Key("Allowed signers (ssh-keygen): one of them must have signed.", relative_to=BATCH),
    ] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batchfile:
    """Builds that belong together. Other top-level keys are allowed, for anchors."""

    OPEN: ClassVar[bool] = True

    name: Annotated[str, Key("Name of the batch; default: the name of the file.")] = ""
    release: Annotated[
        str,
        Key("Name of the release file that the supervisor publishes once all builds have ended."),
    ] = ""
    gate: Annotated[
        bool, Key("Test each stage on its build host, except where its job says `gate: false`.")
    ] = False
    schedule: Annotated[
        tuple[Line, ...],
        Key("When the supervisor submits the batch by itself, if it is in its `schedule_dir`."),
    ] = ()
    pin_seeds: Annotated[
        bool,
        Key("All builds of a night start from the seeds that were published when it was made."),
    ] = False
    unchanged: Annotated[
        Unchanged,
        Key("`skip`: a night leaves out what has not changed and is within its max_age."),
    ] = Unchanged.BUILD
    failures: Annotated[Failures, Key("What becomes of stages that fail night after night.")] = (
        NO_FAILURES
    )
    inputs: Annotated[
        dict[str, BatchInput],
        Key("Git repositories, by name. They are the batch's folder; specfiles are in them."),
    ] = field(default_factory=dict)
    builds: Annotated[tuple[BatchEntry, ...], Key("What to build.")] = ()
