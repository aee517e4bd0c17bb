"""Gentoo's layout, for installers and handbooks that know Gentoo's mirrors.

    releases/<arch>/autobuilds/<timestamp>/<variant>-<timestamp>.tar.xz, and files that describe it
    releases/<arch>/autobuilds/current-<variant>/     the latest build again
    releases/<arch>/autobuilds/latest-<variant>.txt   <timestamp>/<file> <size>
    releases/<arch>/autobuilds/latest-<product>.txt   the same for all variants of a product

`<variant>` is Gentoo's word for `stage3-amd64-systemd`. Text files are clear-signed as on Gentoo's
mirrors. The time in a pointer is when what it names was built, so that a pointer changes only when
it points elsewhere. (gentoo/releng: scripts/copy_buildsync.sh; gentoo/catalyst: base/genbase.py)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from orchestrator.release.catalog import Catalog, File, Stage
from orchestrator.release.facts import Fact, Facts, Reader
from orchestrator.release.views.architectures import platform_of
from orchestrator.release.views.names import (
    checked,
    extension,
    in_words,
    part,
    second_of,
    shown,
    stem,
    version,
    why_not,
)
from orchestrator.release.views.view import Signer, ViewFile
from tasks.archive.decompress import pieces_of

ROOT = "releases"
SIGNING = 4
"""How many texts are signed at the same time."""

DIGESTS, CONTENTS = ".DIGESTS", ".CONTENTS.gz"
DIGESTS_MAX_BYTES = 1 << 20

_CONTENT = Fact("content", lambda read: b"".join(pieces_of(read)))
"""Read once, not again for each generation."""

_DIGEST = re.compile(r"([0-9a-f]{32,128})  (\S.*)")
_HEADING = re.compile(r"# [A-Z0-9]+ HASH")


@dataclass(frozen=True)
class Gentoo:
    learned: Facts

    def files(self, catalog: Catalog, read: Reader, signer: Signer | None) -> Iterator[ViewFile]:
        layout = _Layout(self.learned, read, signer)
        return checked(_signed(list(layout.files(shown(catalog))), signer), ROOT)

    def facts(self, catalog: Catalog, stage: Stage, signer: Signer | None) -> Iterator[Fact]:
        if signer and not why_not(stage):
            yield from signer.facts().values()

    def left_out(self, catalog: Catalog) -> Iterator[str]:
        for stage in catalog.stages:
            if reason := why_not(stage):
                yield reason
                continue
            for missing in (DIGESTS, CONTENTS):
                if not sidecar(stage, missing):
                    yield f"{stage.build}: shown without {missing}, which its build did not make"


def sidecar(stage: Stage, ending: str) -> File | None:
    """The file that describes the tarball and has that extension after the tarball's name."""
    name = stage.tarball.name + ending
    return next((file for file in stage.sidecars if file.name == name), None)


@dataclass(frozen=True)
class _Text:
    """A file that is to be clear-signed."""

    path: str
    text: str
    is_index: bool = False


def _signed(files: list[ViewFile | _Text], signer: Signer | None) -> Iterator[ViewFile]:
    """The files, with each text signed once, several at a time: most of signing is waiting for gpg
    to start."""
    texts = list(dict.fromkeys(file.text for file in files if isinstance(file, _Text)))
    with ThreadPoolExecutor(SIGNING) as pool:
        signed = list(pool.map(signer.clear_signed, texts)) if signer else texts
    contents = dict(zip(texts, signed, strict=True))
    for file in files:
        if isinstance(file, _Text):
            content = contents[file.text].encode()
            yield ViewFile(path=file.path, content=content, is_index=file.is_index)
        else:
            yield file


@dataclass(frozen=True)
class _Layout:
    facts: Facts
    read: Reader
    signer: Signer | None

    def files(self, catalog: Catalog) -> Iterator[ViewFile | _Text]:
        latest = catalog.latest
        for stage in catalog.stages:
            yield from self._build(stage, f"{_folder(stage)}/{version(stage)}")
        for stage in latest:
            yield from self._build(stage, _current(stage))
        for stage in latest:
            name = f"latest-{stem(stage)}.txt"
            yield _pointer(f"{_current(stage)}/{name}", [stage], in_folder=False)
            yield _pointer(f"{_folder(stage)}/{name}", [stage], in_folder=True)
        yield from self._summaries(latest)

    def _build(self, stage: Stage, folder: str) -> Iterator[ViewFile | _Text]:
        name = file_name(stage)
        path = f"{folder}/{name}"
        yield ViewFile(path=path, body=stage.tarball)
        if contents := sidecar(stage, CONTENTS):
            yield ViewFile(path=path + CONTENTS, body=contents)
        for ending, file in stage.evidence.items():
            yield ViewFile(path=path + ending, body=file)
        sha256 = f"# SHA256 HASH\n{stage.tarball.sha256}  {name}\n"
        yield _Text(f"{path}.sha256", sha256)
        if text := self._digests(stage):
            yield _Text(path + DIGESTS, text)
            if self.signer:
                yield _Text(f"{path}{DIGESTS}.asc", text)  # where it was signed until 2021
        for ending, fact in (self.signer.facts() if self.signer else {}).items():
            yield ViewFile(
                path=path + ending, content=self.facts.of(stage.tarball, fact, self.read)
            )

    def _digests(self, stage: Stage) -> str:
        """The checksums that the build made, with the names that its files have in this view; empty
        if it made none."""
        digests = sidecar(stage, DIGESTS)
        if not digests or digests.size_bytes > DIGESTS_MAX_BYTES:
            return ""
        old, new = stage.tarball.name, file_name(stage)
        names = {old: new, old + CONTENTS: new + CONTENTS}
        lines: list[str] = []
        heading = ""
        for line in (
            self.facts.of(digests, _CONTENT, self.read).decode(errors="replace").splitlines()
        ):
            if _HEADING.fullmatch(line):
                heading = line
            elif (found := _DIGEST.fullmatch(line)) and found[2] in names and heading:
                lines += [f"{heading}\n", f"{found[1]}  {names[found[2]]}\n"]
        return "".join(lines)

    def _summaries(self, latest: tuple[Stage, ...]) -> Iterator[_Text]:
        products: dict[str, list[Stage]] = {}
        for stage in latest:
            name = f"{_folder(stage)}/latest-{part(stage.product)}.txt"
            products.setdefault(name, []).append(stage)
        for path, stages in products.items():
            yield _pointer(path, sorted(stages, key=stem), in_folder=True)


def _pointer(path: str, stages: Sequence[Stage], *, in_folder: bool) -> _Text:
    at = max(map(second_of, stages))
    lines = [f"# Latest as of {in_words(at)}", f"# ts={at}"]
    for stage in stages:
        folder = f"{version(stage)}/" if in_folder else ""
        lines.append(f"{folder}{file_name(stage)} {stage.tarball.size_bytes}")
    return _Text(path, "\n".join(lines) + "\n", is_index=True)


def file_name(stage: Stage) -> str:
    return f"{stem(stage)}-{version(stage)}{extension(stage)}"


def _folder(stage: Stage) -> str:
    return f"{ROOT}/{part(platform_of(stage).gentoo)}/autobuilds"


def _current(stage: Stage) -> str:
    return f"{_folder(stage)}/current-{stem(stage)}"
