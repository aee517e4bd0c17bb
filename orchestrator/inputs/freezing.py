"""Freezes what a batch is built from: the folder that its `inputs:` make, all of pinned commits.

The folder has the same path each time, because the paths in a build are part of it; so it is
locked while it is used, and written anew each time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from orchestrator.formats.batchfile import Batchfile
from orchestrator.formats.reader import read_document, read_text
from orchestrator.inputs.problems import input_problems, path_of
from orchestrator.inputs.repository import inputs_folder, opened
from orchestrator.inputs.tree import make_folders, write_commit
from tasks.errors import BadInput, HostUnfit, SpecProblems
from tasks.host.files import make_folder
from tasks.host.locks import exclusive
from tasks.host.removal import remove_tree
from tasks.model import Build, GitInput, encode
from tasks.settings import Settings


@dataclass(frozen=True, slots=True)
class Frozen:
    """The folder that a batch is built from, and the repositories whose files are in it."""

    folder: Path
    inputs: tuple[GitInput, ...]


@contextmanager
def frozen(batch: Path, settings: Settings) -> Iterator[Frozen | None]:
    """What the batch at that path is built from, as it is now, while the body runs; None if it has
    no `inputs:`. `SpecProblems` for what is wrong in them, `StagefarmError` if one cannot be
    fetched, or has files that are refused."""
    document = read_document(read_text(batch, "batch file"), str(batch), Batchfile)
    if problems := input_problems(document):
        raise SpecProblems(tuple(problems))
    wanted = [
        GitInput(
            name=name,
            url=one.git,
            ref=one.ref,
            commit="",
            path=path_of(name, one),
            signers=str(batch.absolute().parent / one.signers) if one.signers else "",
        )
        for name, one in document.value.inputs.items()
    ]
    if not wanted:
        yield None
        return
    with _written(wanted, settings) as found:
        yield found


@contextmanager
def frozen_again(build: Build, settings: Settings) -> Iterator[Frozen | None]:
    """The same for a build that was submitted before: its refs are looked up anew. `BadInput` if it
    was submitted elsewhere."""
    if not build.inputs:
        yield None
        return
    wanted = [replace(one, commit="") for one in build.inputs]
    if str(_folder_of(wanted, settings)) != build.folder:
        raise BadInput(
            f"{build.id} was submitted from {build.folder}, which is not of this machine and user",
            "run this as who submitted it, or submit it as a new build",
        )
    with _written(wanted, settings) as found:
        yield found


def _folder_of(wanted: Sequence[GitInput], settings: Settings) -> Path:
    """Where they are written: one path for the same repositories, refs and places."""
    digest = hashlib.sha256(encode(sorted(wanted, key=lambda one: one.name))).hexdigest()
    return inputs_folder(settings) / "trees" / digest[:16]


@contextmanager
def _written(wanted: Sequence[GitInput], settings: Settings) -> Iterator[Frozen]:
    for one in wanted:
        _require_allowed(one, settings)
    folder = _folder_of(wanted, settings)
    with exclusive(folder):
        remove_tree(folder)
        make_folder(folder)
        # Those that others lie in come first.
        ordered = sorted(wanted, key=lambda one: PurePosixPath(one.path).parts)
        yield Frozen(folder, tuple([_bring(one, folder, settings) for one in ordered]))


def _require_allowed(one: GitInput, settings: Settings) -> None:
    scheme = one.url.partition(":")[0]
    if scheme not in settings.git_protocols.split(":"):
        raise BadInput(
            f"{one.url} is not fetched: this machine allows {settings.git_protocols}",
            f"set git_protocols, such as to {settings.git_protocols}:{scheme}",
        )


def _bring(one: GitInput, folder: Path, settings: Settings) -> GitInput:
    with opened(one.url, settings) as repository:
        commit = repository.fetch(one.ref)
        if one.signers:
            repository.verify(one.ref, commit, one.signers)
        write_commit(repository, commit, _place(one, folder))
    return replace(one, commit=commit)


def _place(one: GitInput, folder: Path) -> Path:
    """Where the files of an input go: nowhere that another has files already, and through no
    link."""
    try:
        place = make_folders(folder, PurePosixPath(one.path))
        if not any(place.iterdir()):
            return place
    except OSError as error:
        if not isinstance(error, FileExistsError):
            raise HostUnfit(f"cannot write {error.filename}: {error.strerror}") from error
    raise BadInput(
        f"the input {one.name} cannot be at {one.path}: another one has files there",
        "give it another `path`",
    )
