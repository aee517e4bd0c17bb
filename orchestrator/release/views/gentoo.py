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
from collections.abc import Iterator
from dataclasses import dataclass, replace
from email.utils import formatdate

from orchestrator.release.catalog import Catalog, File, Stage
from orchestrator.release.facts import Fact, Facts
from orchestrator.release.views.architectures import platform_of
from orchestrator.release.views.names import (
    checked,
    extension,
    part,
    second_of,
    shown,
    stem,
    version,
    why_not,
)
from orchestrator.release.views.view import Reader, Signer, ViewFile

ROOT = "releases"
DIGESTS, CONTENTS = ".DIGESTS", ".CONTENTS.gz"

_DIGEST = re.compile(r"([0-9a-f]{32,128})  (\S.*)")
_HEADING = re.compile(r"# [A-Z0-9]+ HASH")


@dataclass(frozen=True)
class Gentoo:
    learned: Facts

    def files(self, catalog: Catalog, read: Reader, signer: Signer | None) -> Iterator[ViewFile]:
        return checked(_Layout(self.learned, read, signer).files(shown(catalog)), ROOT)

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
class _Layout:
    facts: Facts
    read: Reader
    signer: Signer | None

    def files(self, catalog: Catalog) -> Iterator[ViewFile]:
        latest = catalog.latest
        for stage in catalog.stages:
            yield from self._build(stage, f"{_folder(stage)}/{version(stage)}")
        for stage in latest:
            yield from self._build(stage, _current(stage))
        for stage in latest:
            name = f"latest-{stem(stage)}.txt"
            yield self._pointer(f"{_current(stage)}/{name}", [stage], in_folder=False)
            yield self._pointer(f"{_folder(stage)}/{name}", [stage], in_folder=True)
        yield from self._summaries(latest)

    def _build(self, stage: Stage, folder: str) -> Iterator[ViewFile]:
        name = file_name(stage)
        path = f"{folder}/{name}"
        yield ViewFile(path=path, body=stage.tarball)
        if contents := sidecar(stage, CONTENTS):
            yield ViewFile(path=path + CONTENTS, body=contents)
        sha256 = f"# SHA256 HASH\n{stage.tarball.sha256}  {name}\n"
        yield self._signed(f"{path}.sha256", sha256)
        if text := self._digests(stage):
            signed = self._signed(path + DIGESTS, text)
            yield signed
            if self.signer:
                yield replace(signed, path=f"{path}{DIGESTS}.asc")  # its name until 2021
        for ending, fact in (self.signer.facts() if self.signer else {}).items():
            yield ViewFile(path=path + ending, content=self.facts.of(stage.tarball, fact))

    def _digests(self, stage: Stage) -> str:
        """The checksums that the build made, with the names that its files have in this view; empty
        if it made none."""
        if not (digests := sidecar(stage, DIGESTS)):
            return ""
        old, new = stage.tarball.name, file_name(stage)
        names = {old: new, old + CONTENTS: new + CONTENTS}
        lines: list[str] = []
        heading = ""
        for line in self.read(digests).decode(errors="replace").splitlines():
            if _HEADING.fullmatch(line):
                heading = line
            elif (found := _DIGEST.fullmatch(line)) and found[2] in names and heading:
                lines += [f"{heading}\n", f"{found[1]}  {names[found[2]]}\n"]
        return "".join(lines)

    def _summaries(self, latest: tuple[Stage, ...]) -> Iterator[ViewFile]:
        products: dict[str, list[Stage]] = {}
        for stage in latest:
            name = f"{_folder(stage)}/latest-{part(stage.product)}.txt"
            products.setdefault(name, []).append(stage)
        for path, stages in products.items():
            yield self._pointer(path, sorted(stages, key=stem), in_folder=True)

    def _pointer(self, path: str, stages: list[Stage], *, in_folder: bool) -> ViewFile:
        at = max(map(second_of, stages))
        lines = [f"# Latest as of {formatdate(at)}", f"# ts={at}"]
        for stage in stages:
            folder = f"{version(stage)}/" if in_folder else ""
            lines.append(f"{folder}{file_name(stage)} {stage.tarball.size_bytes}")
        return replace(self._signed(path, "\n".join(lines) + "\n"), is_index=True)

    def _signed(self, path: str, text: str) -> ViewFile:
        signed = self.signer.clear_signed(text) if self.signer else text
        return ViewFile(path=path, content=signed.encode())


def file_name(stage: Stage) -> str:
    return f"{stem(stage)}-{version(stage)}{extension(stage)}"


def _folder(stage: Stage) -> str:
    return f"{ROOT}/{part(platform_of(stage).gentoo)}/autobuilds"


def _current(stage: Stage) -> str:
    return f"{_folder(stage)}/current-{stem(stage)}"
