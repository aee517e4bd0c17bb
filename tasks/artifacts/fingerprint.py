"""What has led to a step: all that must be the same for what it leaves to be the same.

Left aside is what only decides whether a step ends well, not what it leaves: time limits, retries,
descriptions, where checkpoints are kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import msgspec

from tasks.model import Build, Checkpoint

IRRELEVANT = ("description", "timeout_s", "retries", "checkpoint", "number")


def lineage(build: Build, step: int) -> str:
    """A digest of what leads to the end of step number `step`."""
    return hashlib.sha256(json.dumps(_parts(build, step), sort_keys=True).encode()).hexdigest()


def difference(old: Build, new: Build, step: int) -> str:
    """The first thing that makes `new` another build than `old` before the end of step number
    `step`, in words; empty if nothing does."""
    before, after = _parts(old, step), _parts(new, step)
    names = [*before, *(name for name in after if name not in before)]
    return next((name for name in names if before.get(name) != after.get(name)), "")


def usable(build: Build, kept: Mapping[str, Checkpoint]) -> dict[str, Checkpoint]:
    """Those that belong to the build as it is: it may have been respecified since one was made."""
    steps = {step.number: lineage(build, step.number) for step in build.steps}
    return {point: one for point, one in kept.items() if steps.get(one.step) == one.lineage}


def _parts(build: Build, step: int) -> dict[str, Any]:
    """What leads to a step, each part under the name that people know it by."""
    parts: dict[str, Any] = {
        "the workspacedir": build.workspacedir,
        "the arch": build.queue,
        "the way into the chroot": (build.chroot, build.cpu),
        "the source": build.source,
        "the job's chroot_binds": build.chroot_binds,
    }
    parts |= {f"variable {name}": value for name, value in build.environment.items()}
    for one in build.steps[: step + 1]:
        parts[f"step {one.number + 1} ({one.title})"] = one
    return {name: _bare(msgspec.to_builtins(value)) for name, value in parts.items()}


def _bare(value: Any) -> Any:
    """`value` without what is irrelevant or at its default, so that a field that a later version
    adds changes nothing."""
    if isinstance(value, dict):
        return {k: _bare(v) for k, v in value.items() if v and k not in IRRELEVANT}
    if isinstance(value, (list, tuple)):
        return [_bare(item) for item in value]
    return value
