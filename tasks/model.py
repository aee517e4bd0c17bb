"""The types sent between processes and machines: builds and their steps.

All are frozen and sent as JSON (`encode`, `decode`). A `Build` is complete: a host can run it
without the specfile, the templates and the options of the submitter's machine.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

import msgspec

from tasks.errors import BadInput, StagefarmError

T = TypeVar("T")


class SourceType(StrEnum):
    HTTP = "http"
    ANISE = "anise"
    FILE = "file"


class OutputType(StrEnum):
    FILE = "file"


class HookType(StrEnum):
    """When a hook runs, and where: `outer-*` on the host, `inner-chroot` in the root filesystem,
    `gate` as a test in a throw-away copy of what was packed."""

    OUTER_PRE_SOURCER = "outer-pre-sourcer"
    OUTER_PRE_CHROOT = "outer-pre-chroot"
    INNER_CHROOT = "inner-chroot"
    OUTER_CHROOT = "outer-chroot"
    OUTER_POST_CHROOT = "outer-post-chroot"
    GATE = "gate"
    OUTER_POST_OUTPUT = "outer-post-output"


class StepKind(StrEnum):
    SOURCE = "source"
    HOOKS = "hooks"
    PACK = "pack"
    GATE = "gate"
    PUBLISH = "publish"


class SmokeTest(StrEnum):
    """What a host tests in every stage that it tests, `boot` only where that is asked for."""

    SHELL = "shell"
    PACKAGE_MANAGER = "package-manager"
    USER_DATABASE = "user-database"
    NAME_SERVICE = "name-service"
    LDCONFIG = "ldconfig"
    LOCALE = "locale"
    BOOT = "boot"


class ChrootKind(StrEnum):
    """How the root filesystem is entered."""

    NATIVE = "native"
    FCHROOT = "fchroot"


class RootfsKind(StrEnum):
    """What the root filesystem is: a layer above a shared seed, or a folder of its own."""

    OVERLAY = "overlay"
    PLAIN = "plain"


class Privileges(StrEnum):
    """What the programs of a root filesystem may do: stay in it, as root; make namespaces of their
    own in it as well, in a user namespace; or all that root may do on the host."""

    CONTAINED = "contained"
    SANDBOX = "sandbox"
    HOST = "host"


class Network(StrEnum):
    """What the programs of a root filesystem reach: all that the host does; their own loopback; or
    what lies beyond the host and the farm's Redis."""

    HOST = "host"
    NONE = "none"
    ISOLATED = "isolated"


class BuildState(StrEnum):
    """`blocked`: the build whose tarball it starts from has not succeeded yet."""

    BLOCKED = "blocked"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in (BuildState.SUCCEEDED, BuildState.FAILED, BuildState.CANCELLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bind:
    """A folder of the host (`source`) mounted inside the root filesystem (`target`)."""

    source: str
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """Commands run in sequence, each as `entrypoint + [command]`.

    `timeout_s` is the time limit of each command, 0 for none; `retries` is how often a failed
    command is tried again.
    """

    name: str
    type: HookType = HookType.INNER_CHROOT
    description: str = ""
    commands: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    chroot_binds: tuple[Bind, ...] = ()
    timeout_s: float = 0.0
    retries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RenameRule:
    """Replaces a name: of a whole file (`rename`), or the beginning of names (`rename_paths`)."""

    source: str
    dest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterRules:
    """Paths of the host to pack in addition to the root filesystem."""

    dirs: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tarformers:
    """Which files are unpacked or packed, with which names and owners; the options of mark-devkit's
    archive library that change the result. Paths start at the root: `/etc/hosts`.

    Files are renamed before they are selected when a source is unpacked, and after it when an
    output is packed. `remap_uids` and `remap_gids` map numbers, as text. With `same_owner` false,
    unpacked files belong to root; `same_chtimes` keeps access and change times in an output.
    """

    match_prefix: tuple[str, ...] = ()
    ignore_files: tuple[str, ...] = ()
    ignore_regexes: tuple[str, ...] = ()
    rename: tuple[RenameRule, ...] = ()
    rename_paths: tuple[RenameRule, ...] = ()
    remap_uids: dict[str, str] = field(default_factory=dict)
    remap_gids: dict[str, str] = field(default_factory=dict)
    same_owner: bool = True
    same_chtimes: bool = False
    writer: WriterRules | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What the root filesystem starts from. Paths are absolute, except `anise_config` and
    `keyring`, which are relative to the folder the build was submitted from.

    A `uri` that ends with `.txt` is a pointer: a text file with the name of the tarball, such as
    Gentoo's `latest-stage3-*.txt`. `checksums` is the URL of a `.sha256` or `.DIGESTS` file, and
    `signature` that of a detached OpenPGP signature (default: the URL of the tarball plus `.asc`);
    both may be relative to the URL of the tarball.
    """

    type: SourceType
    uri: str = ""
    path: str = ""
    target: str = ""
    sha256: str = ""
    sha512: str = ""
    checksums: str = ""
    keyring: str = ""
    signature: str = ""
    anise_config: str = ""
    anise_repos: tuple[str, ...] = ()
    anise_packages: tuple[str, ...] = ()
    tarformers: Tarformers | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """The tarball to make: file `name` in folder `dir`, in the format of the name's extension."""

    name: str
    dir: str
    type: OutputType = OutputType.FILE
    tarformers: Tarformers | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One Celery task of a build. `number` counts from 0; `file` and `hooks` are set for hooks.
    With `checkpoint` the build's state is kept after the step (`tasks.step.checkpoint`).
    `privileges` and `network` are those of programs of the root filesystem; outer hooks have the
    host's, and tests of a stage are contained whatever is written here. With `boot` the stage is
    booted as one of the tests."""

    number: int
    kind: StepKind
    phase: HookType | None = None
    file: str = ""
    hooks: tuple[Hook, ...] = ()
    checkpoint: bool = False
    privileges: Privileges = Privileges.CONTAINED
    network: Network = Network.HOST
    boot: bool = False

    @property
    def title(self) -> str:
        return f"{self.phase} {self.file}" if self.phase else str(self.kind)

    @property
    def is_inner(self) -> bool:
        """Whether it runs programs of the root filesystem as hooks."""
        return self.phase is HookType.INNER_CHROOT

    @property
    def runs_inside(self) -> bool:
        """Whether its hooks see the root filesystem as their root."""
        return self.is_inner or self.kind is StepKind.GATE

    @property
    def tests(self) -> tuple[str, ...]:
        """The names of the tests that it runs, in their order."""
        if self.kind is not StepKind.GATE:
            return ()
        own = [test for test in SmokeTest if self.boot or test is not SmokeTest.BOOT]
        return (*own, *(hook.name for hook in self.hooks))

    @property
    def is_outer(self) -> bool:
        """Whether it runs hooks on the host."""
        return self.phase is not None and not self.is_inner


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLimits:
    """What each step of a build may have, all its processes together; 0 is the host's own limit.
    A step with `cpu_weight` 200 gets twice the processors of one with 100, while they are short."""

    memory_bytes: int = 0
    cpu_weight: int = 0
    pids: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class GitInput:
    """A git repository that a batch is built from: `commit` is what `ref` was when the batch was
    made, `path` where its files are, `signers` the file of those who may have signed it, if any."""

    name: str
    url: str
    ref: str
    commit: str
    path: str
    signers: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """One run of one rendered job, as the host executes it.

    `environment` has the job's variables for hooks; `folder` is where the command was run;
    `context` is the digest of the bundle of that folder, empty for `run`; `created_at` is the time
    of submission in seconds since 1970; `timeout_s` is the time limit of the whole build, 0 for
    none; `rootfs` is None if the host may choose. No file of the tarball gets a time after
    `source_date_epoch`. `privileges` and `network` are the job's; each step has its own. Hosts
    claim what `submitter` has submitted between `not_before` and `not_after`.

    To render the job again: `overrides`, as JSON, and `now`, in ISO 8601, followed by a space and
    the name of its zone. `rebuild_of` is the build that this one repeats, and `not_by` the key of a
    host that must not do that; `after` is the build that it starts from, and `release` the release
    that the supervisor publishes once the batch has ended. `max_age_s` is the contract of its stage
    where the batch has one, 0 if the release file says it. The files of `folder` are of `inputs`;
    `as_written` is the job's own source, where the night has pinned that.
    """

    id: str
    job: str
    specfile: str
    folder: str
    source: Source
    output: Output
    steps: tuple[Step, ...]
    workspacedir: str
    arch: str = ""
    subarch: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    chroot_binds: tuple[Bind, ...] = ()
    chroot: ChrootKind = ChrootKind.NATIVE
    cpu: str = ""
    fchroot_debug: bool = False
    context: str = ""
    batch: str = ""
    variant: str = ""
    priority: int = 0
    optional: bool = False
    created_at: float = 0.0
    timeout_s: float = 0.0
    rootfs: RootfsKind | None = None
    source_date_epoch: int | None = None
    overrides: str = ""
    now: str = ""
    rebuild_of: str = ""
    not_by: str = ""
    after: str = ""
    release: str = ""
    submitter: str = ""
    not_before: float = 0.0
    not_after: float = 0.0
    max_age_s: float = 0.0
    privileges: Privileges = Privileges.CONTAINED
    network: Network = Network.HOST
    limits: StepLimits = StepLimits()
    inputs: tuple[GitInput, ...] = ()
    as_written: Source | None = None

    def privileges_of(self, step: Step) -> Privileges:
        """What the programs of the root filesystem may do in `step`: with fchroot, which enters
        it in its own way, all that root may. Tests of the stage are always contained."""
        if step.kind is StepKind.GATE:
            return Privileges.CONTAINED
        return Privileges.HOST if self.chroot is ChrootKind.FCHROOT else step.privileges

    def runs_seed_in(self, step: Step) -> bool:
        """Whether `step` runs programs of the root filesystem: inner hooks, tests, or the
        finalizers of packages that anise installs."""
        finalizes = step.kind is StepKind.SOURCE and self.source.type is SourceType.ANISE
        return step.runs_inside or finalizes

    @property
    def host_privileged(self) -> tuple[Step, ...]:
        """The steps in which programs of the root filesystem have the host's privileges. Outer
        hooks, which are the submitter's own commands on the host, are not among them: see
        `Step.is_outer`."""
        return tuple(
            step
            for step in self.steps
            if self.runs_seed_in(step) and self.privileges_of(step) is Privileges.HOST
        )

    @property
    def queue(self) -> str:
        return queue_name(self.arch, self.subarch)


def slug_of(name: str) -> str:
    """The part of `name` that is valid as a file name and in a Redis key."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", name).strip("-.")[:80]


def queue_name(arch: str, subarch: str) -> str:
    """`<arch>.<subarch>`; `noarch.generic` for a job with neither."""
    return f"{arch or 'noarch'}.{subarch or 'generic'}"


_ID_END = re.compile(r"(-[0-9]{8}-[0-9a-f]{8})[0-9a-f]{8}$")


def short_id(name: str) -> str:
    """The id of a build or a batch as shown in output: with half of its random digits. Commands
    accept any unique beginning of an id."""
    return _ID_END.sub(r"\1", name)


def encode(value: Any) -> bytes:
    """`value`, of a type above, as compact JSON; `BadInput` for a path that is not UTF-8."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError as error:
        raise BadInput(f"{error.object!r} is not UTF-8", "rename it") from error


def decode(data: bytes | str, kind: type[T]) -> T:
    """The value of type `kind` that `encode` wrote; `StagefarmError` if `data` is not one."""
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        raise StagefarmError(f"not a {kind.__name__}: {error}") from error
