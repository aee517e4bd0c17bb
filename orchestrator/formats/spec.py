"""Specfiles and hook files: mark-devkit's formats, parsed once into frozen values.

The fields of these classes are the keys of the files. `docs/specfile.md` documents the format;
`docs/schema/` has JSON Schemas generated from these classes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar

from orchestrator.formats.reader import (
    Count,
    Document,
    Key,
    Seconds,
    Size,
    did_you_mean,
    read_document,
    read_text,
)
from tasks.errors import BadInput, Problem, SpecProblems
from tasks.model import Bind, HookType, Network, OutputType, Privileges, RootfsKind, SourceType

SPECFILE, HOOKFILE = "the specfile's folder", "hooks_basedir"
START = "the folder the command is run in"
NO_LIMIT, NEVER, NO_SIZE = Seconds(0), Count(0), Size(0)


class Engine(StrEnum):
    """The template language of a specfile."""

    HELM = "helm"
    JINJA2 = "jinja2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """One variable of the hooks; it overrides an option of the same name."""

    key: Annotated[str, Key("Name of the variable.")] = ""
    value: Annotated[str, Key("Its value.")] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChrootBind:
    """A folder or file of the host, mounted inside the root filesystem."""

    source: Annotated[
        str,
        Key("Folder or file of the host; a missing one is made as a folder.", relative_to=START),
    ] = ""
    target: Annotated[str, Key("Mount point inside the root filesystem.")] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSource:
    """What the root filesystem starts from."""

    type: Annotated[
        SourceType | None,
        Key("`http`: a tarball to download. `anise`: packages. `file`: a local tarball."),
    ] = None
    uri: Annotated[str, Key("URL of the tarball, for `http`.", rendered=True)] = ""
    path: Annotated[
        str, Key("Path of the tarball, for `file`.", rendered=True, relative_to=SPECFILE)
    ] = ""
    target: Annotated[
        str,
        Key(
            "Where the downloaded tarball is kept; if it exists, it is not downloaded again.",
            rendered=True,
            relative_to=SPECFILE,
        ),
    ] = ""
    anise_config: Annotated[str, Key("Configuration file for `anise`.", relative_to=START)] = ""
    anise_repos: Annotated[
        tuple[str, ...], Key("Packages of repositories, installed before `anise_packages`.")
    ] = ()
    anise_packages: Annotated[tuple[str, ...], Key("Packages to install, for `anise`.")] = ()
    tarformers_specs: Annotated[
        dict[str, Any] | None,
        Key("Which files are unpacked, with which names and owners; see docs/rootfs.md."),
    ] = None
    sha256: Annotated[str, Key("Expected SHA-256 of the tarball, in hex.", rendered=True)] = ""
    sha512: Annotated[str, Key("Expected SHA-512 of the tarball, in hex.", rendered=True)] = ""
    checksums: Annotated[
        str,
        Key(
            "URL of a `.sha256` or `.DIGESTS` file to verify the tarball with; may be relative to "
            "`uri`.",
            rendered=True,
        ),
    ] = ""
    keyring: Annotated[
        str,
        Key(
            "OpenPGP keyring that must contain the key of the tarball's signature.",
            rendered=True,
            relative_to=START,
        ),
    ] = ""
    signature: Annotated[
        str,
        Key(
            "URL of the tarball's detached signature, used with `keyring`; default: the tarball's "
            "URL plus `.asc`.",
            rendered=True,
        ),
    ] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOutput:
    """The tarball to make."""

    type: Annotated[OutputType | None, Key("`file`, the only type so far.")] = None
    name: Annotated[
        str,
        Key("Name of the file. Its extension sets the format: .zst .xz .gz .bz2", rendered=True),
    ] = ""
    dir: Annotated[str, Key("Folder of the file.", rendered=True, relative_to=SPECFILE)] = ""
    tarformers_specs: Annotated[
        dict[str, Any] | None,
        Key("Which files are packed, with which names and owners; see docs/rootfs.md."),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobLimits:
    """What each step of a job may have, all its processes together."""

    memory: Annotated[Size, Key("Memory, such as `8G`; 0 is no limit.")] = NO_SIZE
    cpu_weight: Annotated[
        Count, Key("Share of the processors while they are short, 1 to 10000; others have 100.")
    ] = NEVER
    pids: Annotated[Count, Key("Processes; never more than the host allows.")] = NEVER


@dataclass(frozen=True, slots=True, kw_only=True)
class JobGate:
    """The tests of a stage on its build host, once it is packed."""

    SHORT: ClassVar[str] = "tests"

    tests: Annotated[bool, Key("Whether to test it.")] = True
    boot: Annotated[bool, Key("Boot it to its default target too.")] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One stage to build: a source, hooks, an output."""

    name: Annotated[str, Key("Name of the job, unique in the file.")]
    source: Annotated[JobSource, Key("What the root filesystem starts from.")] = field(
        default_factory=JobSource
    )
    output: Annotated[JobOutput, Key("The tarball to make.")] = field(default_factory=JobOutput)
    options: Annotated[
        dict[str, Any],
        Key(
            "Values for the templates. Text and whole numbers are also variables of the hooks, "
            "with `-` replaced by `_`. `arch` and `subarch` select the queue on the farm."
        ),
    ] = field(default_factory=dict)
    environments: Annotated[
        tuple[Environment, ...], Key("Variables of the hooks; they override `options`.")
    ] = ()
    chroot_binds: Annotated[
        tuple[ChrootBind, ...], Key("Folders mounted inside the root filesystem for every hook.")
    ] = ()
    workspacedir: Annotated[
        str,
        Key(
            "Folder the job works in; the root filesystem is `rootfs` in it.", relative_to=SPECFILE
        ),
    ] = ""
    hooks_basedir: Annotated[str, Key("Folder of the `hooks_files`.", relative_to=SPECFILE)] = ""
    hooks_files: Annotated[
        tuple[str, ...],
        Key("Hook files, in the order in which their hooks run.", relative_to=HOOKFILE),
    ] = ()
    timeout: Annotated[Seconds, Key("Time limit of the whole build; 0 is none.")] = NO_LIMIT
    checkpoint: Annotated[
        bool, Key("Keep the root filesystem's layer after each hook group, to resume from.")
    ] = False
    rootfs: Annotated[
        RootfsKind | None,
        Key(
            "`overlay`: a layer above a shared seed. `plain`: a folder. Default: the host decides."
        ),
    ] = None
    privileges: Annotated[
        Privileges | None,
        Key(
            "What inner hooks and the shell of `enter` may do. `contained`, the default: stay in "
            "the root filesystem. `sandbox`: also make namespaces there. `host`: all that root may."
        ),
    ] = None
    network: Annotated[
        Network | None,
        Key(
            "What inner hooks reach. `host`, the default: all that the host does. `none`: their "
            "own loopback. `isolated`: what is beyond the host and the farm's Redis."
        ),
    ] = None
    limits: Annotated[
        JobLimits | None, Key("What each step may have, on hosts with control groups.")
    ] = None
    gate: Annotated[
        JobGate | None,
        Key("Test the stage once it is packed. Default: if the job has hooks of the type `gate`."),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Specfile:
    """A file of jobs. Other top-level keys are allowed, for anchors."""

    OPEN: ClassVar[bool] = True

    version: Annotated[str, Key("Version of the format.")] = "1.0"
    engine: Annotated[Engine, Key("Template language of the file and its hook files.")] = (
        Engine.HELM
    )
    jobs: Annotated[tuple[Job, ...], Key("The jobs.")] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FileHook:
    """Commands that run at one point of a job."""

    name: Annotated[str, Key("Name shown in logs; default: the file and the hook's number.")] = ""
    description: Annotated[str, Key("What the hook is for.")] = ""
    type: Annotated[
        HookType,
        Key(
            "When the hook runs, and where: `outer-*` on the host, `inner-chroot` inside, `gate` "
            "as a test of what was packed."
        ),
    ] = HookType.INNER_CHROOT
    commands: Annotated[
        tuple[str, ...], Key("Commands, run in sequence; the first that fails ends the build.")
    ] = ()
    entrypoint: Annotated[
        tuple[str, ...],
        Key("Program and arguments before each command; default: `[/bin/bash, -c]`."),
    ] = ()
    chroot_binds: Annotated[
        tuple[ChrootBind, ...], Key("Folders mounted inside the root filesystem for this hook.")
    ] = ()
    timeout: Annotated[Seconds, Key("Time limit of each command; 0: that of the file.")] = NO_LIMIT
    retries: Annotated[Count, Key("How often a failed command is tried again.")] = NEVER


@dataclass(frozen=True, slots=True, kw_only=True)
class Hookfile:
    """A file of hooks. The whole file is a template, rendered with the job's options before it is
    parsed. Other top-level keys are allowed, for anchors."""

    OPEN: ClassVar[bool] = True

    hooks: Annotated[tuple[FileHook, ...], Key("The hooks, in the order in which they run.")] = ()
    timeout: Annotated[Seconds, Key("Time limit of each command of the file; 0 is none.")] = (
        NO_LIMIT
    )
    retries: Annotated[Count, Key("How often a failed command of the file is tried again.")] = NEVER
    checkpoint: Annotated[
        bool, Key("Keep the root filesystem's layer after the groups of this file.")
    ] = False
    privileges: Annotated[
        Privileges | None, Key("The file's own `privileges`; default: those of the job.")
    ] = None
    network: Annotated[
        Network | None, Key("The file's own `network`; default: that of the job.")
    ] = None


def load_specfile(file: Path) -> Document[Specfile]:
    """The specfile at `file`; `BadInput` if it cannot be read, `SpecProblems` with all problems in
    it."""
    return _parse_specfile(read_text(file, "specfile"), str(file))


@lru_cache(maxsize=8)
def _parse_specfile(text: str, file: str) -> Document[Specfile]:
    """Cached: the many builds of a batch come from few files."""
    document = read_document(text, file, Specfile)
    if problems := _duplicate_names(document):
        raise SpecProblems(problems)
    return document


def parse_hookfile(rendered: str, file: str) -> Document[Hookfile]:
    """The hook file of this rendered text."""
    return read_document(rendered, file, Hookfile)


def _duplicate_names(document: Document[Specfile]) -> tuple[Problem, ...]:
    first: dict[str, int] = {}
    problems = []
    for number, job in enumerate(document.value.jobs):
        path = f"jobs[{number}].name"
        line = document.places[path].line if path in document.places else 0
        if job.name in first:
            message = f"duplicate job {job.name!r}: first in line {first[job.name]}"
            problems.append(document.problem(path, message))
        first.setdefault(job.name, line)
    return tuple(problems)


def find_job(document: Document[Specfile], name: str) -> tuple[int, Job]:
    """The job called `name` and its number; `BadInput`, with the known names, if it is missing."""
    for number, job in enumerate(document.value.jobs):
        if job.name == name:
            return number, job
    names = [job.name for job in document.value.jobs]
    there = f"its jobs are: {', '.join(names)}" if names else "it has no jobs"
    hint = did_you_mean(name, names, there)
    raise BadInput(f"{document.file}: no job {name!r}", hint)


def bind(item: ChrootBind, folder: Path) -> Bind:
    """The bind as the host mounts it; a relative source starts from `folder`."""
    return Bind(source=str(folder / item.source), target=item.target)
