"""Names in views. Products, variants and architectures come from specfiles: none of them may lead
out of the view's folder, hide a file, or take another's place."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime

from orchestrator.release.catalog import Catalog, Stage
from orchestrator.release.views.architectures import platform_of
from orchestrator.release.views.view import ViewFile
from tasks.errors import BadInput

EXTENSIONS = (".tar.xz", ".tar.zst", ".tar.gz", ".tar.bz2", ".tar")
PART_MAX_CHARS = 60
NAME_MAX_BYTES = 255
LAST_SECOND = 253402300799
"""The end of the year 9999."""

_UNSAFE = re.compile(r"[^A-Za-z0-9._+-]+")
_PRINTABLE = re.compile(r"[!-~]+")


def part(text: str) -> str:
    """`text` as a part of a file name: what is not a letter, a digit or one of `._+-` becomes a
    dash, and it begins with a letter or a digit. `BadInput` if nothing is left."""
    safe = _UNSAFE.sub("-", text)[:PART_MAX_CHARS].strip("._+-")
    if not safe:
        raise BadInput(
            f"{text!r} cannot be part of a file name",
            "name products, variants and architectures with letters and digits",
        )
    return safe


def version(stage: Stage) -> str:
    """When the stage was built, such as `20261122T030405Z`; sorts like the time."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second_of(stage)))


def second_of(stage: Stage) -> int:
    """When the stage was built, in whole seconds since 1970."""
    if not 0 <= stage.built_at <= LAST_SECOND:
        raise BadInput(f"{stage.build}: it cannot have been built at {stage.built_at}")
    return int(stage.built_at)


def in_words(second: int) -> str:
    """The time as in mail, and as `date -uR` prints it."""
    return format_datetime(datetime.fromtimestamp(second, UTC))


def stem(stage: Stage) -> str:
    """What the names of all builds of the stage have in common, such as `stage3-amd64-systemd`."""
    platform = platform_of(stage)
    words = [part(stage.product), part(platform.subarch or platform.gentoo)]
    return "-".join([*words, part(stage.variant)] if stage.variant else words)


def extension(stage: Stage) -> str:
    """The extension of the tarball; empty if it is none that readers of views know."""
    name = stage.tarball.name
    return next((known for known in EXTENSIONS if name.endswith(known)), "")


def why_not(stage: Stage, extensions: Iterable[str] = EXTENSIONS) -> str:
    """Why a view for tarballs with these extensions cannot show the stage; empty if it can."""
    if extension(stage) not in extensions:
        return f"{stage.build}: {stage.tarball.name!r} does not end with {' or '.join(extensions)}"
    try:
        stem(stage), version(stage), part(platform_of(stage).gentoo)
    except BadInput as error:
        return f"{stage.build}: {error}"
    return ""


def shown(catalog: Catalog, extensions: Iterable[str] = EXTENSIONS) -> Catalog:
    """The catalog without the stages that such a view cannot show."""
    return replace(catalog, stages=tuple(s for s in catalog.stages if not why_not(s, extensions)))


def checked(files: Iterable[ViewFile], *roots: str) -> Iterator[ViewFile]:
    """`files`; `BadInput` for two at one path, and for a path that is not inside one of `roots`."""
    known: set[str] = set()
    folders: set[str] = set()
    for file in files:
        parts = file.path.split("/")
        if parts[0] not in roots or len(parts) < 2 or not all(map(_is_name, parts)):
            raise BadInput(f"{file.path!r} is no path of a view")
        above = {"/".join(parts[:end]) for end in range(1, len(parts))}
        if file.path in known or file.path in folders or above & known:
            raise BadInput(
                f"two stages are shown as {file.path}",
                "give them products or variants that differ in letters or digits",
            )
        known.add(file.path)
        folders |= above
        yield file


def _is_name(text: str) -> bool:
    return (
        bool(_PRINTABLE.fullmatch(text))
        and not text.startswith(".")
        and len(text) <= NAME_MAX_BYTES
    )
