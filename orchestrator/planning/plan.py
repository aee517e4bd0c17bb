"""Plans the build of a rendered job. Pure: no files, no clock, no random numbers.

`stagefarm plan` prints the plan, `run` and `submit` execute it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import msgspec

from orchestrator.formats.spec import (
    ChrootBind,
    FileHook,
    Hookfile,
    Job,
    JobGate,
    JobLimits,
    bind,
)
from orchestrator.planning.job_problems import problems
from orchestrator.planning.render import RenderedHookfile, RenderedJob
from tasks.archive.tarformers import Rules
from tasks.errors import BadInput, SpecProblems
from tasks.model import (
    Bind,
    Build,
    ChrootKind,
    GitInput,
    Hook,
    HookType,
    Network,
    Output,
    OutputType,
    Privileges,
    Source,
    Step,
    StepKind,
    StepLimits,
    Tarformers,
    slug_of,
)

DEFAULT_ENTRYPOINT = ("/bin/bash", "-c")
INSIDE = (HookType.INNER_CHROOT, HookType.OUTER_CHROOT)
GO_INT = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """What the command line or the batch adds to a job."""

    farm: bool = False
    skip_source: bool = False
    skip_hooks: bool = False
    skip_packer: bool = False
    chroot: ChrootKind = ChrootKind.NATIVE
    cpu: str = ""
    fchroot_debug: bool = False
    batch: str = ""
    release: str = ""
    variant: str = ""
    priority: int = 0
    optional: bool = False
    timeout_s: float = 0.0
    max_age_s: float = 0.0
    gate: bool = False
    inputs: tuple[GitInput, ...] = ()


def plan(rendered: RenderedJob, build_id: str, options: PlanOptions) -> Build:
    """The build of `rendered`; `SpecProblems` if the job lacks something that a build needs."""
    if found := problems(rendered, packed=not options.skip_packer):
        raise SpecProblems(found)
    job = rendered.job
    build = Build(
        id=build_id,
        job=job.name,
        specfile=str(rendered.specfile),
        folder=str(rendered.folder),
        source=_source(rendered),
        output=_output(rendered),
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
        release=options.release,
        variant=options.variant,
        priority=options.priority,
        optional=options.optional,
        rootfs=job.rootfs,
        privileges=job.privileges or Privileges.CONTAINED,
        network=job.network or Network.HOST,
        limits=_limits(job.limits or JobLimits()),
        created_at=rendered.now.timestamp(),
        timeout_s=options.timeout_s or job.timeout,
        max_age_s=options.max_age_s,
        inputs=options.inputs,
    )
    _require_kept_networks(build)
    return build


def _limits(given: JobLimits) -> StepLimits:
    return StepLimits(memory_bytes=given.memory, cpu_weight=given.cpu_weight, pids=given.pids)


def _require_kept_networks(build: Build) -> None:
    for step in build.host_privileged:
        if step.network is not Network.HOST:
            raise BadInput(
                f"{step.file}: `network: {step.network}` is not kept with --chroot=fchroot",
                "use the native chroot",
            )


def build_id(job: str, day: str, token: str) -> str:
    """`<job>-<YYYYMMDD>-<token>`, valid as a file name and in a Redis key."""
    return f"{slug_of(job) or 'job'}-{day}-{token}"


def environment(rendered: RenderedJob) -> dict[str, str]:
    """Variables of the hooks: options that are text or whole numbers, and `environments`, which
    override them."""
    options = {
        name.replace("-", "_"): str(value)
        for name, value in rendered.job.options.items()
        if name
        and "=" not in name
        and (isinstance(value, str) or (_is_int(value) and value in GO_INT))
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
        privileges = rendered.job.privileges or Privileges.CONTAINED
        yield Step(number=0, kind=StepKind.SOURCE, privileges=privileges)
    yield from groups(HookType.OUTER_PRE_CHROOT)
    yield from groups(*INSIDE)
    yield from groups(HookType.OUTER_POST_CHROOT)
    if not options.skip_packer:
        yield Step(number=0, kind=StepKind.PACK)
        yield from _gate(hook_files, rendered, options)
        yield from groups(HookType.OUTER_POST_OUTPUT)
    if options.farm:
        yield Step(number=0, kind=StepKind.PUBLISH)


def _gate(
    files: list[RenderedHookfile], rendered: RenderedJob, options: PlanOptions
) -> Iterator[Step]:
    """The tests of the stage, if the job, its hooks, the batch or the command line ask for them."""
    hooks = tuple(
        _hook(file, number, hook, rendered)
        for file in files
        for number, hook in enumerate(file.content.hooks, 1)
        if hook.type is HookType.GATE
    )
    asked = rendered.job.gate or JobGate(tests=options.gate or bool(hooks))
    if asked.tests:
        yield Step(number=0, kind=StepKind.GATE, hooks=hooks, network=Network.NONE, boot=asked.boot)


def _groups(
    file: RenderedHookfile, phases: tuple[HookType, ...], rendered: RenderedJob
) -> Iterator[Step]:
    """Steps of consecutive hooks of one phase, among `phases`."""
    numbered = [(n, hook) for n, hook in enumerate(file.content.hooks, 1) if hook.type in phases]
    for phase, group in groupby(numbered, key=lambda item: item[1].type):
        hooks = tuple(_hook(file, number, hook, rendered) for number, hook in group)
        step = Step(
            number=0,
            kind=StepKind.HOOKS,
            phase=phase,
            file=file.name,
            hooks=hooks,
            checkpoint=phase in INSIDE and (rendered.job.checkpoint or file.content.checkpoint),
        )
        yield _contained(step, file.content, rendered.job)


def _contained(step: Step, file: Hookfile, job: Job) -> Step:
    """What holds for inner hooks: the file's own words, or else the job's."""
    if not step.is_inner:
        return step
    return replace(
        step,
        privileges=file.privileges or job.privileges or Privileges.CONTAINED,
        network=file.network or job.network or Network.HOST,
    )


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


def _binds(binds: Iterable[ChrootBind], rendered: RenderedJob) -> tuple[Bind, ...]:
    return tuple(bind(item, rendered.folder) for item in binds)


def _source(rendered: RenderedJob) -> Source:
    source = rendered.job.source
    assert source.type is not None
    return Source(
        type=source.type,
        uri=source.uri,
        path=str(rendered.specfile.parent / source.path) if source.path else "",
        target=source.target,
        sha256=source.sha256.lower(),
        sha512=source.sha512.lower(),
        checksums=source.checksums,
        keyring=source.keyring,
        signature=source.signature,
        anise_config=source.anise_config,
        anise_repos=source.anise_repos,
        anise_packages=source.anise_packages,
        tarformers=tarformers(source.tarformers_specs),
    )


def _output(rendered: RenderedJob) -> Output:
    output = rendered.job.output
    return Output(
        name=output.name,
        dir=output.dir,
        type=output.type or OutputType.FILE,
        tarformers=tarformers(output.tarformers_specs),
    )


def tarformers(given: dict[str, Any] | None) -> Tarformers | None:
    """The options of `tarformers_specs` that change the result; None if there are none. `BadInput`
    for an invalid one."""
    maps = {
        key: {str(old): str(new) for old, new in value.items()}
        for key in ("remap_uids", "remap_gids")
        if isinstance(value := (given or {}).get(key), dict)
    }
    try:
        found = msgspec.convert({**(given or {}), **maps}, Tarformers, strict=False)
    except msgspec.ValidationError as error:
        raise BadInput(f"tarformers_specs: {error}", "see docs/rootfs.md for its keys") from error
    Rules(found)
    return None if found == Tarformers() else found
