"""The catalog of a generation: every stage that one publication offers, by content.

A generation is immutable. Its catalog is `catalogs/<sha256>.json` on the mirror; the body of each
file is `stages/<sha256>/<name>`, so that generations share what they have in common. The only thing
that changes is the pointer, which names the current catalog. All else on a mirror is a view, made
from the catalog, for programs that know another layout.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from orchestrator.origin.evidence import evidence_names
from tasks.errors import Untrusted
from tasks.model import encode

STAGES, CATALOGS = "stages", "catalogs"
NAME_MAX_BYTES = 255
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file of the mirror. `name` is its name as built, without a folder."""

    name: str
    size_bytes: int
    sha256: str

    @property
    def path(self) -> str:
        """Where its body is, relative to the root of the mirror."""
        return f"{STAGES}/{self.sha256}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage: what it is, who built it, its tarball, and the files that describe that.

    `product` is what users ask for, such as `stage3`; `variant` tells apart what has the same
    product and architecture, such as `systemd`. `built_at` is in seconds since 1970. `job` and
    `result` among the sidecar files are the signatures (`tasks.artifacts.provenance`).
    """

    product: str
    variant: str = ""
    arch: str = ""
    subarch: str = ""
    build: str
    batch: str = ""
    attempt: int
    built_at: float
    tarball: File
    sidecars: tuple[File, ...] = ()
    options: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What later builds of the same stage have in common with it."""
        return self.product, self.arch, self.subarch, self.variant

    @property
    def id(self) -> tuple[str, int, str]:
        """What no other stage has."""
        return self.build, self.attempt, self.tarball.name

    @property
    def files(self) -> tuple[File, ...]:
        return (self.tarball, *self.sidecars)

    @property
    def evidence(self) -> dict[str, File]:
        """The files that tell where the tarball comes from, by what they have after its name."""
        wanted = set(evidence_names(self.tarball.name))
        size = len(self.tarball.name)
        return {file.name[size:]: file for file in self.sidecars if file.name in wanted}


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """An earlier generation whose catalog is still on the mirror. `replaced_at` is when the next
    one was made."""

    version: int
    created_at: float
    replaced_at: float
    sha256: str
    stages: int = 0
    reason: str = ""

    @property
    def path(self) -> str:
        return f"{CATALOGS}/{self.sha256}.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """What one generation offers. `version` rises with each generation of a release's channel;
    `created_at` is in seconds since 1970. A stage may be there in several builds, newest first.

    `pins` are builds that stay, `earlier` the generations that can be rolled back to, newest first,
    and `reason` says why this one was made, if not for new builds. Builds in `withdrawn`, which a
    rollback removed, are published again only if they are named.
    """

    release: str
    channel: str
    version: int
    created_at: float
    stages: tuple[Stage, ...] = ()
    pins: tuple[str, ...] = ()
    withdrawn: tuple[str, ...] = ()
    earlier: tuple[Generation, ...] = ()
    reason: str = ""

    @property
    def content(self) -> bytes:
        """The catalog as it is on the mirror."""
        return msgspec.json.format(encode(self)) + b"\n"

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def path(self) -> str:
        return f"{CATALOGS}/{self.sha256}.json"

    @property
    def files(self) -> Iterator[File]:
        """Each body that the generation needs, once."""
        known: set[str] = set()
        for stage in self.stages:
            for file in stage.files:
                if file.path not in known:
                    known.add(file.path)
                    yield file

    @property
    def latest(self) -> tuple[Stage, ...]:
        """The newest build of each stage, in the order of the catalog."""
        newest: dict[tuple[str, str, str, str], Stage] = {}
        for stage in self.stages:
            if stage.key not in newest or newest[stage.key].built_at < stage.built_at:
                newest[stage.key] = stage
        return tuple(newest.values())


def read_catalog(content: bytes, sha256: str) -> Catalog:
    """The catalog with that digest; `Untrusted` if `content` is another, or none, or names a file
    that could leave its folder."""
    if hashlib.sha256(content).hexdigest() != sha256:
        raise Untrusted("the catalog is not the one that the pointer names: its sha256 differs")
    try:
        catalog = msgspec.json.decode(content, type=Catalog)
    except msgspec.MsgspecError as error:
        raise Untrusted(f"cannot read the catalog: {error}") from error
    for file in catalog.files:
        if not is_safe(file):
            raise Untrusted(f"the catalog names an impossible file: {file.name!r} {file.sha256!r}")
    for generation in catalog.earlier:
        if not SHA256.fullmatch(generation.sha256):
            raise Untrusted(f"the catalog names an impossible one: {generation.sha256!r}")
    return catalog


def is_safe(file: File) -> bool:
    """Whether the path of the file is made of a digest and a name, and its size is possible."""
    is_name = bool(file.name) and file.name not in (".", "..")
    return (
        is_name
        and not any(character in "/\\" or not character.isprintable() for character in file.name)
        and len(file.name.encode()) <= NAME_MAX_BYTES
        and bool(SHA256.fullmatch(file.sha256))
        and file.size_bytes >= 0
    )
