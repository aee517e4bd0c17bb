"""What is wrong with the configuration that an `anise` source names, before anything is built.

The program takes one that is missing, or no YAML, for an empty one, and exits with 0. Only here is
there a reader of YAML; a host checks that the file has arrived (`tasks.sources.anise`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from orchestrator.formats.reader import read_text
from orchestrator.formats.yaml12 import Mapping, load
from orchestrator.planning.render import RenderedJob, problems_of
from tasks.errors import BadInput, Problem
from tasks.model import HookType, SourceType

KEY = "source.anise_config"


def config_problems(rendered: RenderedJob) -> Iterator[Problem]:
    """Why the configuration cannot be used, wherever the job is built."""
    if not (path := _file(rendered)):
        return
    if not path.is_file():
        if not _may_be_made(rendered):
            hint = f"paths in {KEY} are relative to the folder the command is started in"
            yield _problem(rendered, f"{path}: no such configuration of anise", hint)
        return
    try:
        root = load(read_text(path, "configuration of anise"), str(path))
    except BadInput as error:
        yield from (
            _problem(rendered, f"cannot be used: {problem}", problem.hint)
            for problem in problems_of(error)
        )
        return
    if not isinstance(root, Mapping):
        yield _problem(rendered, f"{path}: no configuration of anise", "it is YAML: `name: value`")


def farm_problems(rendered: RenderedJob) -> Iterator[Problem]:
    """Why a host of a farm would not have the configuration."""
    path = _file(rendered)
    if path and not path.resolve().is_relative_to(rendered.folder.resolve()):
        message = f"{path}: not in the folder that is sent along, {rendered.folder}"
        yield _problem(rendered, message, "put it there, or build with `stagefarm run`")


def _file(rendered: RenderedJob) -> Path | None:
    source = rendered.job.source
    wanted = source.type is SourceType.ANISE and source.anise_config
    return rendered.folder / source.anise_config if wanted else None


def _may_be_made(rendered: RenderedJob) -> bool:
    """Whether hooks run on the host before the source, which may write the configuration."""
    hooks = (hook for file in rendered.hook_files for hook in file.content.hooks)
    return any(hook.type is HookType.OUTER_PRE_SOURCER for hook in hooks)


def _problem(rendered: RenderedJob, message: str, hint: str) -> Problem:
    return rendered.problem(KEY, f"job {rendered.job.name!r}: {message}", hint)
