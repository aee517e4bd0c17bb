"""Batches: many builds of many jobs from one file.

The file format and its expansion into builds. Submitting them is `orchestrator.submit`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Annotated, Any, ClassVar

from orchestrator.reader import Document, Key, Seconds, did_you_mean, read_document, read_text
from orchestrator.render import merge, problems_of
from orchestrator.spec import NO_LIMIT, Specfile, load_specfile
from tasks.errors import BadInput, Problem, SpecProblems

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
        Key("Options with a list of values each: one build for every combination."),
    ] = field(default_factory=dict)
    exclude: Annotated[
        tuple[dict[str, Any], ...],
        Key("Combinations of the matrix to leave out; an entry may name some of the options only."),
    ] = ()
    options: Annotated[
        dict[str, Any], Key("Options set in every build of the entry, over those of the job.")
    ] = field(default_factory=dict)
    priority: Annotated[int, Key("Builds with a higher one are taken first.")] = 0
    optional: Annotated[bool, Key("The batch succeeds even if these builds fail.")] = False
    timeout: Annotated[Seconds, Key("Time limit of each build; 0 is the job's own.")] = NO_LIMIT


@dataclass(frozen=True, slots=True, kw_only=True)
class Batchfile:
    """Builds that belong together. Other top-level keys are allowed: keep anchors there."""

    OPEN: ClassVar[bool] = True

    name: Annotated[str, Key("Name of the batch; default: the file's.")] = ""
    builds: Annotated[tuple[BatchEntry, ...], Key("What to build.")] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchBuild:
    """One build of a batch, before it is rendered. `varied` are the names of the options of
    the matrix, which tell it from the others of its job."""

    specfile: Path
    job: str
    overrides: Mapping[str, Any]
    varied: tuple[str, ...] = ()
    priority: int = 0
    optional: bool = False
    timeout_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    name: str
    builds: tuple[BatchBuild, ...]
    warnings: tuple[Problem, ...] = ()


def load_batch(file: Path) -> Batch:
    """The batch at `file`, expanded. `BadInput` if it cannot be read, `SpecProblems` with all that
    is wrong in it and in the specfiles it names."""
    document = read_document(read_text(file, "batch file"), str(file), Batchfile)
    expansion = _Expansion(document)
    builds = tuple(expansion.builds())
    if not builds and not expansion.problems:
        expansion.add("builds", "a batch without builds", "list specfiles under `builds:`")
    if expansion.problems:
        raise SpecProblems(tuple(expansion.problems))
    return Batch(name=document.value.name or file.stem, builds=builds, warnings=document.warnings)


class _Expansion:
    """Turns entries into builds, and keeps what is wrong until all were tried."""

    def __init__(self, document: Document[Batchfile]) -> None:
        self.document = document
        self.folder = Path(document.file).parent
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
                self.add(f"{path}.matrix", "the matrix leaves no combination to build")
            for job in self.jobs(entry, path):
                for combination in combinations:
                    yield _build(self.folder / entry.specfile, job, entry, combination)

    def check_matrix(self, entry: BatchEntry, path: str) -> None:
        for number, combination in enumerate(entry.exclude):
            for name in combination.keys() - entry.matrix.keys():
                hint = did_you_mean(name, entry.matrix, "leave out combinations of the matrix only")
                self.add(f"{path}.exclude[{number}].{name}", "not an option of the matrix", hint)

    def jobs(self, entry: BatchEntry, path: str) -> tuple[str, ...]:
        """Names of the jobs to build, as far as they are there."""
        if entry.job and entry.jobs:
            self.add(f"{path}.jobs", "`job` and `jobs` are both given", "keep one of them")
        document = self.specfile(self.folder / entry.specfile, f"{path}.specfile")
        if document is None:
            return ()
        known = tuple(job.name for job in document.value.jobs)
        wanted = (entry.job,) if entry.job else entry.jobs or known
        for number, name in enumerate(wanted):
            if name not in known:
                where = f"{path}.job" if entry.job else f"{path}.jobs[{number}]"
                hint = did_you_mean(name, known, f"its jobs are: {', '.join(known)}")
                self.add(where, f"{document.file} has no job {name!r}", hint)
        return tuple(name for name in wanted if name in known)

    def specfile(self, file: Path, path: str) -> Document[Specfile] | None:
        """The specfile at `file`, read once; its own problems are told once."""
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
    """Every combination of the matrix that is not excluded; one empty one without a matrix."""
    for values in product(*entry.matrix.values()):
        combination = dict(zip(entry.matrix, values, strict=True))
        if not any(item.items() <= combination.items() for item in entry.exclude if item):
            yield combination


def _build(specfile: Path, job: str, entry: BatchEntry, combination: dict[str, Any]) -> BatchBuild:
    return BatchBuild(
        specfile=specfile,
        job=job,
        overrides=merge(entry.options, combination),
        varied=tuple(combination),
        priority=entry.priority,
        optional=entry.optional,
        timeout_s=entry.timeout,
    )
