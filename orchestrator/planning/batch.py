"""Expands the entries of a batch file into builds of jobs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from orchestrator.formats.batchfile import BatchEntry, Batchfile, Line, Unchanged
from orchestrator.formats.reader import (
    Document,
    did_you_mean,
    read_document,
    read_text,
)
from orchestrator.formats.releasefile import NAME
from orchestrator.formats.spec import Specfile, load_specfile
from orchestrator.inputs.problems import input_problems
from orchestrator.nights.files import schedule_problems
from orchestrator.planning.render import merge, problems_of
from tasks.errors import BadInput, Problem, SpecProblems


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchBuild:
    """One build of a batch, before it is rendered. `varied` are the names of the matrix's options,
    which distinguish the builds of a job."""

    specfile: Document[Specfile]
    job: str
    overrides: Mapping[str, Any]
    varied: tuple[str, ...] = ()
    priority: int = 0
    optional: bool = False
    timeout_s: float = 0.0
    max_age_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    name: str
    builds: tuple[BatchBuild, ...]
    release: str = ""
    gate: bool = False
    schedule: tuple[Line, ...] = ()
    warnings: tuple[Problem, ...] = ()
    inputs: tuple[str, ...] = ()


def load_batch(file: Path, folder: Path | None = None) -> Batch:
    """The batch at `file`, expanded. Its specfiles are in `folder` (default: that of the file); a
    batch with `inputs:` has no builds unless it is given, since they are not here yet. `BadInput`
    if it cannot be read, `SpecProblems` with all problems in it and in its specfiles."""
    document = read_document(read_text(file, "batch file"), str(file), Batchfile)
    is_elsewhere = bool(document.value.inputs) and not folder
    expansion = _Expansion(document, folder or file.parent)
    builds = () if is_elsewhere else tuple(expansion.builds())
    if not (builds or (is_elsewhere and document.value.builds) or expansion.problems):
        expansion.add("builds", "the batch has no builds", "list specfiles under `builds:`")
    expansion.problems += schedule_problems(document) + input_problems(document)
    value = document.value
    if value.release and not NAME.fullmatch(value.release):
        hint = "the name of a release file on the supervisor's machine, without .yaml"
        expansion.add("release", f"{value.release!r} is not a name", hint)
    if expansion.problems:
        raise SpecProblems(tuple(expansion.problems))
    return Batch(
        name=value.name or file.stem,
        builds=builds,
        release=value.release,
        gate=value.gate,
        schedule=value.schedule,
        warnings=(*document.warnings, *_without_effect(document)),
        inputs=tuple(value.inputs),
    )


def _without_effect(document: Document[Batchfile]) -> Iterator[Problem]:
    """`unchanged: skip` where nothing says how old the stages may become."""
    value = document.value
    is_asked = value.unchanged is Unchanged.SKIP
    if is_asked and not (value.release or any(entry.max_age for entry in value.builds)):
        hint = "give entries a `max_age`, or name a release whose stages have one"
        yield document.problem("unchanged", "nothing is left out: no stage has a max_age", hint)


class _Expansion:
    """Turns entries into builds, and collects the problems of all of them."""

    def __init__(self, document: Document[Batchfile], folder: Path) -> None:
        self.document = document
        self.folder = folder
        self.problems: list[Problem] = []
        self.specfiles: dict[Path, Document[Specfile] | None] = {}

    def add(self, path: str, message: str, hint: str = "") -> None:
        self.problems.append(self.document.problem(path, message, hint))

    def builds(self) -> Iterator[BatchBuild]:
        for number, entry in enumerate(self.document.value.builds):
            path = f"builds[{number}]"
            self.check_matrix(entry, path)
            combinations = list(_combinations(entry))
            if not combinations:
                self.add(f"{path}.matrix", "the matrix has no combination to build")
            if document := self.specfile(self.folder / entry.specfile, f"{path}.specfile"):
                for job in self.jobs(entry, document, path):
                    for combination in combinations:
                        yield _build(document, job, entry, combination)

    def check_matrix(self, entry: BatchEntry, path: str) -> None:
        for number, combination in enumerate(entry.exclude):
            for name in combination.keys() - entry.matrix.keys():
                hint = did_you_mean(name, entry.matrix, "use only options of the matrix")
                self.add(f"{path}.exclude[{number}].{name}", "not an option of the matrix", hint)

    def jobs(self, entry: BatchEntry, document: Document[Specfile], path: str) -> tuple[str, ...]:
        """Names of the jobs to build, without unknown ones."""
        if entry.job and entry.jobs:
            self.add(f"{path}.jobs", "`job` and `jobs` are both given", "keep one of them")
        known = tuple(job.name for job in document.value.jobs)
        wanted = (entry.job,) if entry.job else entry.jobs or known
        for number, name in enumerate(wanted):
            if name not in known:
                where = f"{path}.job" if entry.job else f"{path}.jobs[{number}]"
                hint = did_you_mean(name, known, f"its jobs are: {', '.join(known)}")
                self.add(where, f"{document.file} has no job {name!r}", hint)
        return tuple(name for name in wanted if name in known)

    def specfile(self, file: Path, path: str) -> Document[Specfile] | None:
        """The specfile at `file`, read once; its own problems are reported once."""
        if file not in self.specfiles:
            self.specfiles[file] = None
            try:
                self.specfiles[file] = load_specfile(file)
            except SpecProblems as error:
                self.problems += problems_of(error)
            except BadInput as error:
                self.add(path, str(error), error.hint)
        return self.specfiles[file]


def _combinations(entry: BatchEntry) -> Iterator[dict[str, Any]]:
    """Every combination of the matrix that is not excluded; a single empty one if there is no
    matrix."""
    for values in product(*entry.matrix.values()):
        combination = dict(zip(entry.matrix, values, strict=True))
        if not any(item.items() <= combination.items() for item in entry.exclude if item):
            yield combination


def _build(
    specfile: Document[Specfile], job: str, entry: BatchEntry, combination: dict[str, Any]
) -> BatchBuild:
    return BatchBuild(
        specfile=specfile,
        job=job,
        overrides=merge(entry.options, combination),
        varied=tuple(combination),
        priority=entry.priority,
        optional=entry.optional,
        timeout_s=entry.timeout,
        max_age_s=entry.max_age,
    )
