"""A digest of everything that determines the result of a step.

It ignores what decides only whether a step succeeds, not its result: time limits, retries,
descriptions, where checkpoints are kept, how programs are contained.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from tasks.model import Build
from tasks.results import Checkpoint

IRRELEVANT = (
    *("description", "timeout_s", "retries", "checkpoint", "number"),
    *("privileges", "network"),
)


def lineage(build: Build, step: int) -> str:
    """A digest of everything that leads to the end of step number `step`."""
    return hashlib.sha256(json.dumps(_parts(build, step), sort_keys=True).encode()).hexdigest()


def difference(old: Build, new: Build, step: int) -> str:
    """The name of the first thing that differs between `old` and `new` up to the end of step number
    `step`; empty if nothing does."""
    before, after = _parts(old, step), _parts(new, step)
    names = [*before, *(name for name in after if name not in before)]
    return next((name for name in names if before.get(name) != after.get(name)), "")


def recipe(build: Build) -> str:
    """A digest of what the build makes its tarball of, the seed apart: the same for a build and
    each rebuild of it, whoever submitted them."""
    return inputs(replace(build, source=replace(build.source, sha256="", sha512="")))


def inputs(build: Build) -> str:
    """A digest of what the build makes its tarball of; of the seed what the job says of it."""
    parts = _parts(build, len(build.steps)) | {
        "the folder": build.context,
        "the output": _compact(msgspec.to_builtins((build.output.name, build.output.tarformers))),
        "the time": build.source_date_epoch or 0,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def usable(build: Build, kept: Mapping[str, Checkpoint]) -> dict[str, Checkpoint]:
    """The checkpoints that match the build, which may have been respecified since."""
    steps = {step.number: lineage(build, step.number) for step in build.steps}
    return {point: one for point, one in kept.items() if steps.get(one.step) == one.lineage}


def _parts(build: Build, step: int) -> dict[str, Any]:
    """Everything that leads to a step, each part under its name in messages."""
    parts: dict[str, Any] = {
        "the workspacedir": build.workspacedir,
        "the arch": build.queue,
        "the chroot mode": (build.chroot, build.cpu),
        "the source": build.source,
        "the job's chroot_binds": build.chroot_binds,
    }
    parts |= {f"variable {name}": value for name, value in build.environment.items()}
    for one in build.steps[: step + 1]:
        parts[f"step {one.number + 1} ({one.title})"] = one
    return {name: _compact(msgspec.to_builtins(value)) for name, value in parts.items()}


def _compact(value: Any) -> Any:
    """`value` without irrelevant and empty fields, so that a field added by a later version
    changes nothing."""
    if isinstance(value, dict):
        return {k: _compact(v) for k, v in value.items() if v and k not in IRRELEVANT}
    if isinstance(value, (list, tuple)):
        return [_compact(item) for item in value]
    return value
