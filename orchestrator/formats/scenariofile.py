"""The format of scenarios: hosts and nights to simulate."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, ClassVar

from orchestrator.formats.batchfile import Line
from orchestrator.formats.reader import Count, Key, Seconds, Share

ONE, YEAR = Count(1), Count(365)
NONE, NEVER, NO_LIMIT = Count(0), Share(0.0), Seconds(0)


class Publish(StrEnum):
    """When a stage that was built is published: at once, or with its whole night."""

    BUILD = "build"
    NIGHT = "night"


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A host is lost for a while, with all that it builds."""

    at: Annotated[str, Key("When: a date, or date and time, in UTC unless it says otherwise.")]
    lasts: Annotated[Seconds, Key("How long it is away.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioHost:
    """A host of the simulated farm."""

    name: Annotated[str, Key("Name of the host.")]
    queues: Annotated[tuple[str, ...], Key("The queues that it serves.")]
    slots: Annotated[Count, Key("How many builds it runs at once.")] = ONE
    lost: Annotated[tuple[Loss, ...], Key("When it is lost, and for how long.")] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioStage:
    """A stage that each night of the batch builds, on each of its queues."""

    name: Annotated[str, Key("Name of the stage. Several batches may build the same one.")]
    queues: Annotated[tuple[str, ...], Key("Its queues: one build a night for each.")]
    after: Annotated[
        str,
        Key("The stage of the batch that it starts from: on the same queue, or the only one."),
    ] = ""
    takes: Annotated[Seconds, Key("How long a build takes: the median.")]
    spread: Annotated[
        Share,
        Key(
            "How much that varies (log-normal). With 30%, two builds of three take between "
            "`takes` / 1.3 and `takes` * 1.3."
        ),
    ] = NEVER
    fails: Annotated[Share, Key("How many of its builds fail.")] = NEVER
    max_age: Annotated[
        Seconds, Key("Its contract: how old what users can download may be; default: none.")
    ] = NO_LIMIT
    priority: Annotated[int, Key("The priority of its builds.")] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioBatch:
    """Stages that are built together."""

    name: Annotated[str, Key("Name of the batch.")]
    schedule: Annotated[tuple[Line, ...], Key("When its nights are due.")]
    publish: Annotated[
        Publish,
        Key("When a stage is published: once it is built, or when its whole night has ended."),
    ] = Publish.BUILD
    stages: Annotated[tuple[ScenarioStage, ...], Key("What each night builds.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenariofile:
    """A farm and its nights, to be simulated. Other top-level keys are allowed, for anchors."""

    OPEN: ClassVar[bool] = True

    begin: Annotated[str, Key("The first day; all stages have just been published then.")] = (
        "2026-01-01"
    )
    days: Annotated[Count, Key("How many days are simulated.")] = YEAR
    seed: Annotated[int, Key("What chance is drawn from: the same seed, the same nights.")] = 0
    hosts: Annotated[tuple[ScenarioHost, ...], Key("The hosts of the farm.")]
    batches: Annotated[
        tuple[ScenarioBatch, ...],
        Key("The nights that are due; they may be left out where batch files are simulated."),
    ] = ()
