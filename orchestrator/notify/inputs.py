"""In what the inputs of two builds differ: the suspects of a failure.

Seeds, the submitter's folder, hooks and options are what the signed jobs and the ledger say.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from tasks.model import Build, encode

SHOWN_CHARS = 12
NAMES_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Of one build: digests of its seed and of the submitter's folder, the commits of its git
    repositories, digests of the hooks of each file and of the options, and the host."""

    host: str = ""
    seed: str = ""
    context: str = ""
    commits: dict[str, str] = field(default_factory=dict)
    hooks: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)


def inputs_of(build: Build, *, seed: str, host: str) -> Inputs:
    hooks: dict[str, list[str]] = defaultdict(list)
    for step in build.steps:
        if step.hooks:
            hooks[step.file].append(_digest(encode(step.hooks)))
    return Inputs(
        host=host,
        seed=seed or _digest(encode(build.source)),
        context=build.context,
        commits={one.name: one.commit for one in build.inputs},
        hooks={file: _digest("".join(parts).encode()) for file, parts in hooks.items()},
        options={name: _digest(text.encode()) for name, text in build.environment.items()},
    )


def differences(before: Inputs, after: Inputs) -> tuple[str, ...]:
    """In words, such as `seed 1f0c… is now 93ab…`; empty if they are alike."""
    return tuple(_differences(before, after))


def _differences(before: Inputs, after: Inputs) -> Iterator[str]:
    for name, was, now in (
        ("seed", before.seed, after.seed),
        ("submitted folder", before.context, after.context),
    ):
        if was != now:
            yield f"{name}: {_short(was)} is now {_short(now)}"
    for name in sorted({*before.commits, *after.commits}):
        was, now = before.commits.get(name, ""), after.commits.get(name, "")
        if was != now:
            yield f"commit of {name}: {_short(was)} is now {_short(now)}"
    for name, old, new in (
        ("hooks", before.hooks, after.hooks),
        ("variables", before.options, after.options),
    ):
        changed = sorted(key for key in {*old, *new} if old.get(key) != new.get(key))
        if changed:
            more = f", and {len(changed) - NAMES_SHOWN} more" if len(changed) > NAMES_SHOWN else ""
            yield f"{name}: {', '.join(changed[:NAMES_SHOWN])}{more}"
    if before.host != after.host:
        yield f"host: {before.host} is now {after.host}"


def _short(digest: str) -> str:
    return digest[:SHOWN_CHARS] or "none"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
