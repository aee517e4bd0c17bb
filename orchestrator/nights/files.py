"""The files that say when nights are due: the batches in a folder that have `schedule:`.

A schedule is named like its file, without `.yaml`. Other files of the folder, such as specfiles,
are left alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator.formats.batchfile import NO_FAILURES, Batchfile, Failures, Line, Unchanged
from orchestrator.formats.reader import Document, did_you_mean, read_document, read_text
from orchestrator.formats.releasefile import NAME
from orchestrator.nights.slots import problem_of
from tasks.errors import BadInput, Problem, SpecProblems, StagefarmError
from tasks.model import decode, slug_of

_HAS_SCHEDULE = re.compile(r"(?m)^[\"']?schedule[\"']?\s*:")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleFile:
    """One schedule: its batch and lines, or the error that keeps it from being used. `path` is the
    file itself, where a link leads."""

    name: str
    path: Path
    batch: str = ""
    lines: tuple[Line, ...] = ()
    pin_seeds: bool = False
    unchanged: Unchanged = Unchanged.BUILD
    failures: Failures = NO_FAILURES
    error: str = ""


def schedule_problems(document: Document[Batchfile]) -> list[Problem]:
    """What is wrong in the `schedule:` of a batch."""
    return line_problems(document, "schedule", document.value.schedule)


def line_problems(document: Document[Any], path: str, lines: Sequence[Line]) -> list[Problem]:
    """What is wrong in the lines at `path`."""
    found = []
    is_list = f"{path}[0]" in document.places
    for number, line in enumerate(lines):
        key, message, hint = problem_of(line)
        if key:
            where = f"{path}[{number}]" if is_list else path
            found.append(document.problem(f"{where}.{key}", message, hint))
    return found


def schedules_in(folder: Path) -> list[ScheduleFile]:
    """The schedules of a folder, by name. A broken file has its error and holds up no other; so
    have those whose nights would have the same ids. `BadInput` if there is no such folder."""
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix == ".yaml")
    except OSError as error:
        hint = "set schedule_dir to the folder of the batch files"
        raise BadInput(f"cannot read {folder}: {error.strerror}", hint) from error
    read = [found for path in files if (found := _read(path))]
    nights = Counter(slug_of(one.batch) for one in read if not one.error)
    return [
        replace(one, error=f"another file has the batch {one.batch!r} too: give it a `name:`")
        if not one.error and nights[slug_of(one.batch)] > 1
        else one
        for one in read
    ]


def schedule_named(folder: Path, name: str) -> ScheduleFile:
    """The schedule of that name in a folder; `BadInput` if there is none, or it cannot be used."""
    files = {file.name: file for file in schedules_in(folder)}
    if name not in files:
        hint = did_you_mean(name, files, f"its schedules: {', '.join(files) or 'none'}")
        raise BadInput(f"{folder} has no schedule {name!r}", hint)
    if files[name].error:
        raise BadInput(files[name].error, f"see `stagefarm validate {files[name].path}`")
    return files[name]


def lines_of(text: str) -> tuple[Line, ...]:
    """The lines of a schedule's file as the ledger has them; none that cannot be used."""
    try:
        lines = decode(text, tuple[Line, ...])
    except StagefarmError:
        return ()
    return tuple(line for line in lines if not problem_of(line)[0])


def _read(path: Path) -> ScheduleFile | None:
    """The schedule in a file; None if it has none."""
    found = ScheduleFile(name=path.stem, path=path.resolve())
    try:
        text = read_text(path, "batch file")
        if not _HAS_SCHEDULE.search(text):
            return None
        if not NAME.fullmatch(path.stem):
            raise BadInput(f"{path.stem!r} cannot be the name of a schedule: rename the file")
        document = read_document(text, str(path), Batchfile)
        if problems := schedule_problems(document):
            raise SpecProblems(tuple(problems))
    except BadInput as error:
        return replace(found, error=str(error))
    value = document.value
    if not value.schedule:
        return None
    return replace(
        found,
        batch=value.name or path.resolve().stem,
        lines=value.schedule,
        pin_seeds=value.pin_seeds,
        unchanged=value.unchanged,
        failures=value.failures,
    )
