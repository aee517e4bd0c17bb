"""Release files: which stages are published, as what, and where."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from string import Template
from typing import Annotated
from urllib.parse import urlsplit

from orchestrator.formats.reader import Count, Document, Key, Seconds, read_document, read_text
from tasks.errors import BadInput, Problem, SpecProblems
from tasks.trust.keys import PublicKey

RELEASE = "the release file's folder"
DAY_S = 24 * 3600
NONE, FEW = Count(0), Count(3)
NO_LIMIT = Seconds(0)
WEEK, FORTNIGHT = Seconds(7 * DAY_S), Seconds(14 * DAY_S)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
"""Names become names of files on the mirror."""

_REMOTE = re.compile(r"(rsync://[^/]+/.+|[^/:]+:(?!//).+)")
"""What rsync takes for another machine."""


_REPOSITORY = re.compile(r"docker://[A-Za-z0-9.-]+(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+")


class ViewKind(StrEnum):
    """A layout of the mirror that other programs know."""

    GENTOO = "gentoo"
    SHA256SUMS = "sha256sums"
    SIMPLESTREAMS = "simplestreams"
    OCI = "oci"


class TargetKind(StrEnum):
    """How a target is written to."""

    FOLDER = "folder"
    S3 = "s3"
    RSYNC = "rsync"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Builds to publish, and as what. `$job`, `$arch`, `$subarch` and the job's options can be used
    in `product` and `variant`."""

    jobs: Annotated[tuple[str, ...], Key("Names of jobs, or patterns such as `stage3-*`.")] = ("*",)
    batch: Annotated[str, Key("Name of their batch, or a pattern; default: any, or none.")] = ""
    product: Annotated[str, Key("What users ask for, such as `stage3`.")] = "$job"
    variant: Annotated[
        str, Key("Tells apart stages of one product and architecture, such as `$release-systemd`.")
    ] = ""
    max_age: Annotated[
        Seconds,
        Key("How old what users can download may be, since it was built; default: no limit."),
    ] = NO_LIMIT


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A mirror that is written to, and the address at which the public reads it."""

    to: Annotated[
        str,
        Key(
            "A folder, `s3://bucket/prefix`, `host:folder` or `rsync://host/module/folder`.",
            relative_to=RELEASE,
        ),
    ]
    url: Annotated[
        str,
        Key("Its public URL; each generation is verified through it. Required but for folders."),
    ] = ""

    @property
    def kind(self) -> TargetKind:
        if self.to.startswith("s3://"):
            return TargetKind.S3
        return TargetKind.RSYNC if _REMOTE.fullmatch(self.to) else TargetKind.FOLDER


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """Which builds of each stage a generation keeps: those that any of the rules names, and always
    the newest one. Days, weeks and months are in UTC."""

    newest: Annotated[Count, Key("So many newest builds.")] = FEW
    daily: Annotated[Count, Key("The newest build of each of so many days.")] = NONE
    weekly: Annotated[Count, Key("The newest build of each of so many weeks.")] = NONE
    monthly: Annotated[Count, Key("The newest build of each of so many months.")] = NONE
    grace: Annotated[
        Seconds,
        Key("How long files stay that no generation names any more, for readers and rollback."),
    ] = WEEK


KEEP = Keep()


@dataclass(frozen=True, slots=True, kw_only=True)
class Releasefile:
    """A release: one channel of one or several mirrors."""

    name: Annotated[str, Key("Name of the release; default: the name of the file.")] = ""
    channel: Annotated[str, Key("The pointer to the current generation is `<channel>.json`.")] = (
        "stable"
    )
    stages: Annotated[tuple[Selection, ...], Key("What to publish; the first that matches counts.")]
    targets: Annotated[tuple[Target, ...], Key("Where to publish it.")]
    keep: Annotated[Keep, Key("Which builds stay.")] = KEEP
    expires: Annotated[
        Seconds, Key("How long clients take a generation as current without a newer one.")
    ] = FORTNIGHT
    gate: Annotated[
        str,
        Key(
            "The gate file that stages must pass; default: all are published.", relative_to=RELEASE
        ),
    ] = ""
    views: Annotated[tuple[ViewKind, ...], Key("Layouts for other programs.")] = ()
    registries: Annotated[
        tuple[str, ...],
        Key("Where the view `oci` is pushed to, such as `docker://registry.example.org/stages`."),
    ] = ()
    key: Annotated[
        str, Key("The Ed25519 key that signs; default: `release_key_file`.", relative_to=RELEASE)
    ] = ""
    former_keys: Annotated[
        tuple[str, ...], Key("Public keys whose last generation this release continues.")
    ] = ()
    openpgp: Annotated[str, Key("The OpenPGP key, as gpg names it, that signs views.")] = ""
    minisign: Annotated[
        str, Key("The secret key of minisign that signs views.", relative_to=RELEASE)
    ] = ""


def load_release(file: Path) -> Document[Releasefile]:
    """The release file at `file`; `BadInput` if it cannot be read, `SpecProblems` with all problems
    in it."""
    document = read_document(read_text(file, "release file"), str(file), Releasefile)
    if problems := tuple(sorted(_problems(document))):
        raise SpecProblems(problems)
    return document


def name_of(document: Document[Releasefile]) -> str:
    return document.value.name or Path(document.file).stem


def _problems(document: Document[Releasefile]) -> Iterator[Problem]:
    value = document.value
    hint = "letters, digits, and . _ + - after the first"
    for path, name in (("name", name_of(document)), ("channel", value.channel)):
        if not NAME.fullmatch(name):
            yield document.problem(path, f"{name!r} cannot be a name", hint)
    for path, items in (("stages", value.stages), ("targets", value.targets)):
        if not items:
            yield document.problem(path, f"`{path}` is empty", "begin each item with `- `")
    if not value.expires:
        yield document.problem("expires", "a generation cannot expire at once", "such as 14d")
    yield from _of_stages(document)
    yield from _of_targets(document)
    yield from _of_registries(document)
    for number, key in enumerate(value.former_keys):
        try:
            PublicKey.parse(key)
        except BadInput as error:
            yield document.problem(f"former_keys[{number}]", str(error), error.hint)


def _of_stages(document: Document[Releasefile]) -> Iterator[Problem]:
    for number, entry in enumerate(document.value.stages):
        for key, text in (("product", entry.product), ("variant", entry.variant)):
            if not Template(text).is_valid():
                hint = "write $name or ${name} for an option, $$ for a dollar sign"
                yield document.problem(f"stages[{number}].{key}", f"cannot read {text!r}", hint)


def _of_registries(document: Document[Releasefile]) -> Iterator[Problem]:
    value = document.value
    if value.registries and ViewKind.OCI not in value.views:
        yield document.problem(
            "registries", "registries get the view `oci`, which is not made", "add it to `views`"
        )
    for number, url in enumerate(value.registries):
        path = f"registries[{number}]"
        if url in value.registries[:number]:
            yield document.problem(path, f"{url} is there twice")
        if not _REPOSITORY.fullmatch(url):
            hint = "docker://HOST[:PORT]/REPOSITORY in small letters, without a tag"
            yield document.problem(path, f"{url} is no repository of a registry", hint)


def _of_targets(document: Document[Releasefile]) -> Iterator[Problem]:
    seen: set[str] = set()
    for number, target in enumerate(document.value.targets):
        path = f"targets[{number}]"
        if target.to in seen:
            yield document.problem(f"{path}.to", f"{target.to} is there twice")
        seen.add(target.to)
        if "://" in target.to and target.kind is TargetKind.FOLDER:
            hint = "a folder, s3://bucket/prefix, host:folder or rsync://host/module/folder"
            yield document.problem(f"{path}.to", f"cannot write to {target.to}", hint)
        if not target.url and target.kind is not TargetKind.FOLDER:
            yield document.problem(path, "`url` is missing", "where the public reads this mirror")
        if target.url and urlsplit(target.url).scheme not in ("http", "https", "file"):
            hint = "such as https://mirror.example.org/stages"
            yield document.problem(f"{path}.url", f"{target.url} is not a URL", hint)
