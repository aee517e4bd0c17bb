"""What is missing or invalid in a rendered job, although every part of it could be read."""

from __future__ import annotations

import re
from collections.abc import Iterator

from orchestrator.formats.spec import JobLimits, JobOutput, JobSource
from orchestrator.planning.render import RenderedJob
from tasks.archive.formats import by_name
from tasks.errors import BadInput, Problem
from tasks.model import HookType, Network, Privileges, SmokeTest, SourceType

CPU_WEIGHT_MAX = 10_000
MEMORY_MIN_BYTES = 64 * 2**20


def problems(rendered: RenderedJob, *, packed: bool = True) -> tuple[Problem, ...]:
    """Why `rendered` cannot be built, although every part of it could be read."""
    found = [*_missing_in_source(rendered.job.source, str(rendered.specfile.parent))]
    found += _missing_in_output(rendered.job.output) if packed else []
    found += [*_bad_sums(rendered.job.source), *_bad_names(rendered), *_bad_binds(rendered)]
    found += [*_bad_networks(rendered), *_bad_limits(rendered.job.limits), *_bad_tests(rendered)]
    return tuple(
        rendered.problem(key, f"job {rendered.job.name!r}: {message}", hint)
        for key, message, hint in found
    )


def _missing_in_source(source: JobSource, base: str) -> Iterator[tuple[str, str, str]]:
    if source.type is None:
        yield "source.type", "`source.type` is missing", "set it to http, anise or file"
    if source.type is SourceType.HTTP and not source.uri:
        yield "source.uri", "`source.uri` is missing or renders to nothing", "set it to a URL"
    if source.type is SourceType.HTTP and source.target in ("", base):
        hint = "set it to the path where the downloaded tarball is kept"
        yield "source.target", "`source.target` is missing or renders to nothing", hint
    if source.type is SourceType.FILE and not source.path:
        hint = "set it to the path of the tarball"
        yield "source.path", "`source.path` is missing or renders to nothing", hint
    if source.type is SourceType.ANISE and not (source.anise_packages or source.anise_repos):
        hint = "list the packages to install"
        yield "source.anise_packages", "`source.anise_packages` is missing or empty", hint
    elif source.type is SourceType.ANISE and not source.anise_config:
        hint = "name the configuration with the repositories; that of the host takes no part"
        yield "source.anise_config", "`source.anise_config` is missing", hint


def _missing_in_output(output: JobOutput) -> Iterator[tuple[str, str, str]]:
    for key in ("name", "dir"):
        if not getattr(output, key):
            message = f"`output.{key}` is missing or renders to nothing"
            yield f"output.{key}", message, f"set it to the {key} of the tarball to make"
    if "/" in output.name:
        message = f"`output.name` is a path: {output.name}"
        yield "output.name", message, "set only the name here, and its folder as output.dir"
    try:
        by_name(output.name or ".tar")
    except BadInput as error:
        yield "output.name", str(error), error.hint


def _bad_sums(source: JobSource) -> Iterator[tuple[str, str, str]]:
    for key, digits in (("sha256", 64), ("sha512", 128)):
        given = getattr(source, key)
        if given and not re.fullmatch(rf"[0-9a-fA-F]{{{digits}}}", given):
            yield f"source.{key}", f"`source.{key}` is not {digits} hex digits", ""


def _bad_binds(rendered: RenderedJob) -> Iterator[tuple[str, str, str]]:
    hint = "the folder of the host, and the mount point inside"
    for number, item in enumerate(rendered.job.chroot_binds):
        if not item.source or not item.target:
            yield f"chroot_binds[{number}]", "a bind needs `source` and `target`", hint
    for number, file in enumerate(rendered.hook_files):
        binds = [item for hook in file.content.hooks for item in hook.chroot_binds]
        if not all(item.source and item.target for item in binds):
            message = f"{file.name}: a bind of a hook needs `source` and `target`"
            yield f"hooks_files[{number}]", message, hint


def _bad_networks(rendered: RenderedJob) -> Iterator[tuple[str, str, str]]:
    """Nothing keeps a program that has the host's privileges from a network."""
    job = rendered.job
    hint = "use `privileges: contained` or `sandbox`, or `network: host`"
    for number, file in enumerate(rendered.hook_files):
        privileges = file.content.privileges or job.privileges
        wanted = file.content.network or job.network or Network.HOST
        if privileges is Privileges.HOST and wanted is not Network.HOST:
            message = f"{file.name}: `network: {wanted}` is not kept with `privileges: host`"
            yield f"hooks_files[{number}]", message, hint


def _bad_limits(limits: JobLimits | None) -> Iterator[tuple[str, str, str]]:
    if limits and limits.cpu_weight > CPU_WEIGHT_MAX:
        yield "limits.cpu_weight", f"`limits.cpu_weight` is above {CPU_WEIGHT_MAX}", "100 is usual"
    if limits and 0 < limits.memory < MEMORY_MIN_BYTES:
        message = f"`limits.memory` is {limits.memory} bytes, too little to start a step"
        yield "limits.memory", message, "did you leave out the unit? `8G`, `512M`"


def _bad_tests(rendered: RenderedJob) -> Iterator[tuple[str, str, str]]:
    """Results have the names of their tests."""
    hint = "give the hook a name of its own"
    names: set[str] = set()
    for number, file in enumerate(rendered.hook_files):
        for hook in (hook for hook in file.content.hooks if hook.type is HookType.GATE):
            place = f"hooks_files[{number}]"
            if hook.name in tuple(SmokeTest):
                yield place, f"{file.name}: {hook.name!r} is the name of a built-in test", hint
            elif hook.name and hook.name in names:
                yield place, f"{file.name}: two tests are named {hook.name!r}", hint
            names.add(hook.name)


def _bad_names(rendered: RenderedJob) -> Iterator[tuple[str, str, str]]:
    for name, value in rendered.job.options.items():
        if "\0" in f"{name}{value}":
            yield f"options.{name}", "a variable of the hooks cannot contain NUL", ""
    for number, item in enumerate(rendered.job.environments):
        if not item.key or "=" in item.key or "\0" in item.key + item.value:
            message = f"{item.key!r} is not a valid name of a variable"
            yield f"environments[{number}].key", message, ""
