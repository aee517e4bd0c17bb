"""From a rendered job to the build that carries it out. Pure: no file, clock or random number.

`stagefarm plan` prints what this module makes, `run` and `submit` carry it out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from orchestrator.render import RenderedHookfile, RenderedJob
from orchestrator.spec import ChrootBind, FileHook, JobSource, bind
from tasks.errors import BadInput
from tasks.model import (
    Build,
    ChrootKind,
    Hook,
    HookType,
    Output,
    OutputType,
    Source,
    SourceType,
    Step,
    StepKind,
)

DEFAULT_ENTRYPOINT = ("/bin/bash", "-c")
INSIDE = (HookType.INNER_CHROOT, HookType.OUTER_CHROOT)
GO_INT = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """What the command line adds to a job."""

    farm: bool = False
    skip_source: bool = False
    skip_hooks: bool = False
    skip_packer: bool = False
    chroot: ChrootKind = ChrootKind.NATIVE
    cpu: str = ""
    fchroot_debug: bool = False
    batch: str = ""
    priority: int = 0
    optional: bool = False
    timeout_s: float = 0.0


def plan(rendered: RenderedJob, build_id: str, options: PlanOptions) -> Build:
    """The build of `rendered`; `BadInput` if the job lacks what a build needs."""
    job = rendered.job
    return Build(
        id=build_id,
        job=job.name,
        specfile=str(rendered.specfile),
        folder=str(rendered.folder),
        source=_source(rendered),
        output=_output(rendered, needed=not options.skip_packer),
        steps=tuple(_steps(rendered.hook_files, rendered, options)),
        workspacedir=job.workspacedir,
        arch=_text(job.options.get("arch")),
        subarch=_text(job.options.get("subarch")),
        environment=environment(rendered),
        chroot_binds=_binds(job.chroot_binds, rendered),
        chroot=options.chroot,
        cpu=options.cpu,
        fchroot_debug=options.fchroot_debug,
        batch=options.batch,
        priority=options.priority,
        optional=options.optional,
        created_at=rendered.now.timestamp(),
        timeout_s=options.timeout_s or job.timeout,
    )


def build_id(job: str, day: str, token: str) -> str:
    """`<job>-<YYYYMMDD>-<token>`, safe as a file name and in a Redis key."""
    slug = re.sub(r"[^A-Za-z0-9._]+", "-", job).strip("-.")[:80]
    return f"{slug or 'job'}-{day}-{token}"


def environment(rendered: RenderedJob) -> dict[str, str]:
    """Variables of the hooks: options that are text or whole numbers, then `environments`."""
    options = {
        name.replace("-", "_"): str(value)
        for name, value in rendered.job.options.items()
        if isinstance(value, str) or (_is_int(value) and value in GO_INT)
    }
    return options | {item.key: item.value for item in rendered.job.environments}


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _text(value: Any) -> str:
    return str(value) if isinstance(value, str) or _is_int(value) else ""


# --- Steps ---------------------------------------------------------------------------------------


def _steps(
    files: Iterable[RenderedHookfile], rendered: RenderedJob, options: PlanOptions
) -> Iterator[Step]:
    for number, step in enumerate(_unnumbered(list(files), rendered, options)):
        yield replace(step, number=number)


def _unnumbered(
    files: list[RenderedHookfile], rendered: RenderedJob, options: PlanOptions
) -> Iterator[Step]:
    hook_files = [] if options.skip_hooks else files

    def groups(*phases: HookType) -> Iterator[Step]:
        for file in hook_files:
            yield from _groups(file, phases, rendered)

    yield from groups(HookType.OUTER_PRE_SOURCER)
    if not options.skip_source:
        yield Step(number=0, kind=StepKind.SOURCE)
    yield from groups(HookType.OUTER_PRE_CHROOT)
    yield from groups(*INSIDE)
    yield from groups(HookType.OUTER_POST_CHROOT)
    if not options.skip_packer:
        yield Step(number=0, kind=StepKind.PACK)
        yield from groups(HookType.OUTER_POST_OUTPUT)
    if options.farm:
        yield Step(number=0, kind=StepKind.PUBLISH)


def _groups(
    file: RenderedHookfile, phases: tuple[HookType, ...], rendered: RenderedJob
) -> Iterator[Step]:
    """The runs of consecutive hooks of one phase among those of `phases`."""
    numbered = [(n, hook) for n, hook in enumerate(file.content.hooks, 1) if hook.type in phases]
    for phase, group in groupby(numbered, key=lambda item: item[1].type):
        hooks = tuple(_hook(file, number, hook, rendered) for number, hook in group)
        yield Step(number=0, kind=StepKind.HOOKS, phase=phase, file=file.name, hooks=hooks)


def _hook(file: RenderedHookfile, number: int, hook: FileHook, rendered: RenderedJob) -> Hook:
    return Hook(
        name=hook.name or f"{file.name}#{number}",
        type=hook.type,
        description=hook.description,
        commands=hook.commands,
        entrypoint=hook.entrypoint or DEFAULT_ENTRYPOINT,
        chroot_binds=_binds(hook.chroot_binds, rendered),
        timeout_s=hook.timeout or file.content.timeout,
        retries=hook.retries or file.content.retries,
    )


# --- Source and output ---------------------------------------------------------------------------


def _binds(binds: Iterable[ChrootBind], rendered: RenderedJob) -> tuple[Any, ...]:
    return tuple(bind(item, rendered.folder) for item in binds)


def _source(rendered: RenderedJob) -> Source:
    source = rendered.job.source
    kind = _need(source.type, rendered, "source.type", "one of http, anise, file")
    _check_source(kind, source, rendered)
    return Source(
        type=kind,
        uri=source.uri,
        path=str(rendered.specfile.parent / source.path) if source.path else "",
        target=source.target,
        sha256=source.sha256.lower(),
        anise_config=source.anise_config,
        anise_repos=source.anise_repos,
        anise_packages=source.anise_packages,
    )


def _check_source(kind: SourceType, source: JobSource, rendered: RenderedJob) -> None:
    if kind is SourceType.HTTP:
        _need(source.uri, rendered, "source.uri", "the URL of the tarball")
        _need(source.target, rendered, "source.target", "where the tarball is kept")
    elif kind is SourceType.FILE:
        _need(source.path or source.target, rendered, "source.path", "the path of the tarball")


def _output(rendered: RenderedJob, *, needed: bool) -> Output:
    output = rendered.job.output
    if needed:
        _need(output.name, rendered, "output.name", "the name of the tarball to make")
        _need(output.dir, rendered, "output.dir", "the folder of the tarball to make")
    return Output(name=output.name, dir=output.dir, type=output.type or OutputType.FILE)


def _need(value: Any, rendered: RenderedJob, key: str, hint: str) -> Any:
    if not value:
        place = f"{rendered.specfile}: job {rendered.job.name!r}"
        raise BadInput(f"{place}: `{key}` is missing", f"give {hint}")
    return value
