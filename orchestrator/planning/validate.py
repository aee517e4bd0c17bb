"""Finds every problem of a file without building anything."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from orchestrator.formats.gatefile import Gatefile, load_gate
from orchestrator.formats.gatefile import Verdict as GateVerdict
from orchestrator.formats.reader import Document, read_text
from orchestrator.formats.releasefile import Releasefile, load_release, name_of
from orchestrator.formats.scenariofile import Scenariofile
from orchestrator.formats.spec import Engine, Specfile, load_specfile
from orchestrator.planning.anise_config import config_problems, farm_problems
from orchestrator.planning.batch import Batch, load_batch
from orchestrator.planning.batch_plan import plan_batch
from orchestrator.planning.job_problems import problems as job_problems
from orchestrator.planning.render import (
    Overrides,
    check_syntax,
    problems_of,
    render_hook_file,
    render_job,
)
from orchestrator.simulation.scenario import load_scenario
from tasks.errors import BadInput, Problem, SpecProblems, TemplateError
from tasks.model import Tarformers


class FileKind(StrEnum):
    SPECFILE = "specfile"
    HOOKS = "hooks"
    BATCH = "batch"
    RELEASE = "release"
    GATE = "gate"
    SCENARIO = "scenario"


USED_OPTIONS = {item.name for item in fields(Tarformers)}
_KEYS = {
    "jobs": FileKind.SPECFILE,
    "hooks": FileKind.HOOKS,
    "builds": FileKind.BATCH,
    "stages": FileKind.RELEASE,
    "checks": FileKind.GATE,
    "batches": FileKind.SCENARIO,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Checking:
    """How to check: whether to render, with which options, which `now`, from which folder."""

    render: bool
    overrides: Overrides
    now: datetime
    folder: Path
    kind: FileKind | None = None
    engine: Engine = Engine.HELM


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The findings in one file; `summary` describes its content."""

    file: str
    kind: FileKind | None
    summary: str = ""
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()


def check(file: Path, how: Checking) -> Verdict:
    """Every problem of `file`, and of the files it refers to."""
    kind = how.kind
    try:
        kind = kind or kind_of(read_text(file, "file"), file)
        if kind is FileKind.SPECFILE:
            return _check_specfile(load_specfile(file), how)
        if kind is FileKind.BATCH:
            return _check_batch(load_batch(file), file, how)
        if kind is FileKind.HOOKS:
            return _check_hooks(file, how)
        return _check_alone(file, kind)
    except BadInput as error:
        return Verdict(file=str(file), kind=kind, problems=_of_file(error, file))


def _check_alone(file: Path, kind: FileKind) -> Verdict:
    """A file that refers to no other."""
    if kind is FileKind.RELEASE:
        return _check_release(load_release(file))
    if kind is FileKind.GATE:
        return _check_gate(load_gate(file))
    return _check_scenario(load_scenario(file))


def kind_of(text: str, file: Path) -> FileKind:
    """The kind of `file`, from the first key of `_KEYS` at a line start."""
    if match := re.search(rf"(?m)^[\"']?({'|'.join(_KEYS)})[\"']?\s*:", text):
        return _KEYS[match[1]]
    hint = (
        "a specfile has `jobs:`, a hook file `hooks:`, a batch `builds:`, a release `stages:`, "
        "a gate `checks:`, a scenario `batches:`; or use --kind"
    )
    raise BadInput(f"{file}: unknown kind of file", hint)


def _of_file(error: BadInput, file: Path) -> tuple[Problem, ...]:
    """The problems of `error`; the name of the file is moved from the message to the problem."""
    found = problems_of(error)
    if len(found) == 1 and not found[0].file:
        message = found[0].message.removeprefix(f"{file}: ")
        return (Problem(str(file), 0, 0, "", message, error.hint),)
    return found


def _check_specfile(document: Document[Specfile], how: Checking) -> Verdict:
    jobs = document.value.jobs
    found: dict[Problem, None] = {}  # a set that keeps its order: jobs share hook files
    warnings = list(document.warnings)
    if not jobs:
        warnings.append(document.problem("", "the specfile has no jobs"))
    warnings += _without_effect(document)
    for job in jobs if how.render else ():
        problems, odd = _of_job(document, job.name, how.overrides, how)
        found |= dict.fromkeys(problems)
        warnings += odd
    names = ", ".join(job.name for job in jobs)
    return Verdict(
        file=document.file,
        kind=FileKind.SPECFILE,
        summary=f"{len(jobs)} job{'s' * (len(jobs) != 1)}: {names}" if jobs else "no jobs",
        problems=tuple(found),
        warnings=tuple(warnings),
    )


def _without_effect(document: Document[Specfile]) -> Iterator[Problem]:
    """Options that only tune mark-devkit's archive library."""
    for path in document.places:
        _before, _, key = path.partition(".tarformers_specs.")
        if key and "." not in key and "[" not in key and key not in USED_OPTIONS:
            yield document.problem(path, "this option is accepted, but has no effect")


def _of_job(
    document: Document[Specfile], name: str, overrides: Overrides, how: Checking
) -> tuple[Sequence[Problem], Sequence[Problem]]:
    """The problems of a job, and what is only a problem on a farm."""
    try:
        rendered = render_job(document, name, overrides=overrides, now=how.now, folder=how.folder)
    except BadInput as error:
        return problems_of(error), ()
    return [*job_problems(rendered), *config_problems(rendered)], [*farm_problems(rendered)]


def _check_batch(batch: Batch, file: Path, how: Checking) -> Verdict:
    if names := ", ".join(batch.inputs):
        summary = f"{batch.name} of {names}; `stagefarm plan --batch` fetches and checks its builds"
    else:
        summary = f"{len(batch.builds)} builds of {batch.name}"
    return Verdict(
        file=str(file),
        kind=FileKind.BATCH,
        summary=summary,
        problems=_of_plan(file, how) if how.render and not batch.inputs else (),
        warnings=batch.warnings,
    )


def _check_release(document: Document[Releasefile]) -> Verdict:
    value = document.value
    targets = ", ".join(target.to for target in value.targets)
    return Verdict(
        file=document.file,
        kind=FileKind.RELEASE,
        summary=f"{name_of(document)}, channel {value.channel}, to {targets}",
        warnings=document.warnings,
    )


def _check_gate(document: Document[Gatefile]) -> Verdict:
    checks = document.value.checks
    verdicts = Counter(getattr(checks, item.name).verdict for item in fields(checks))
    counts = ", ".join(f"{verdicts[word]} {word}" for word in reversed(GateVerdict))
    overrides = len(document.value.overrides)
    return Verdict(
        file=document.file,
        kind=FileKind.GATE,
        summary=f"checks: {counts}" + (f"; {overrides} overrides" if overrides else ""),
        warnings=document.warnings,
    )


def _check_scenario(document: Document[Scenariofile]) -> Verdict:
    value = document.value
    stages = sum(len(stage.queues) for batch in value.batches for stage in batch.stages)
    hosts = f"{len(value.hosts)} host{'s' * (len(value.hosts) != 1)}"
    return Verdict(
        file=document.file,
        kind=FileKind.SCENARIO,
        summary=f"{stages} stages on {hosts}, {value.days} days",
        warnings=document.warnings,
    )


def _of_plan(batch: Path, how: Checking) -> tuple[Problem, ...]:
    try:
        plan_batch(batch, overrides=how.overrides, now=how.now)
    except SpecProblems as error:
        return error.problems
    return ()


def _check_hooks(file: Path, how: Checking) -> Verdict:
    """A hook file on its own, rendered with the given options. Without options, a template that
    needs one is a warning, since the hooks are checked with the jobs that use them."""
    try:
        document = render_hook_file(file, dict(how.overrides), how.engine, how.now)
    except TemplateError as error:
        if how.overrides:
            raise
        check_syntax(read_text(file, "hook file"), how.engine, str(file))
        return _not_rendered(file, error)
    hooks = document.value.hooks
    return Verdict(
        file=str(file),
        kind=FileKind.HOOKS,
        summary=f"{len(hooks)} hook{'s' * (len(hooks) != 1)}",
        warnings=document.warnings,
    )


def _not_rendered(file: Path, error: TemplateError) -> Verdict:
    (problem,) = problems_of(error)
    hint = "set the options with -o, or validate a specfile that uses this file"
    warning = replace(problem, message=f"needs options to render: {problem.message}", hint=hint)
    return Verdict(file=str(file), kind=FileKind.HOOKS, summary="a template", warnings=(warning,))
