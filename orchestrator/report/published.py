"""Reads the releases of a site: what users can download, from the mirrors, without Redis."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.formats.releasefile import Releasefile, load_release, name_of
from orchestrator.gate.holds import Hold, Holds
from orchestrator.release.catalog import Catalog, File, Stage
from orchestrator.release.gate_setup import holds_of
from orchestrator.release.publisher import Publisher
from orchestrator.release.setup import publisher_of
from orchestrator.release.taking import selection_of
from orchestrator.report.model import Release, StageName
from tasks.errors import BadInput
from tasks.reporting import Silent
from tasks.settings import Settings

_ID_END = re.compile(r"-[0-9]{8}-[0-9a-f]{16}$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A release file, and the publisher by which its mirrors are read."""

    title: str
    release: Releasefile
    publisher: Publisher
    holds: Holds

    def read(self) -> Release:
        """The release as a mirror shows it now; `HostUnfit` if none can be read, `Untrusted` if
        what it shows is not signed or older than before."""
        catalog = self.publisher.current()
        offered = _by_stage(self.title, catalog)
        return Release(
            title=self.title,
            url=next((one.url for one in self.release.targets if one.url), ""),
            catalog=catalog,
            contracts={name: self._contract(stages[0]) for name, stages in offered.items()},
            offered=offered,
            holds=_held(self.title, self.holds.current),
        )

    def find(self, file: File, limit_bytes: int) -> bytes | None:
        """The content of a small file of the mirror, None if no mirror has it as it should be."""
        if file.size_bytes > limit_bytes:
            return None
        for target in self.publisher.targets:
            content = target.read(file.path, file.size_bytes)
            if content is not None and _sha256(content) == file.sha256:
                return content
        return None

    def _contract(self, stage: Stage) -> float:
        job = _ID_END.sub("", stage.build)
        selection = selection_of(self.release.stages, job, stage.batch)
        return float(selection.max_age) if selection else 0.0


def sources_of(
    files: Sequence[Path], settings: Settings, say: Callable[[str], object]
) -> tuple[Source, ...]:
    """The releases in `files`; `BadInput` if two of them are one channel of one release."""
    found: dict[str, Source] = {}
    for file in files:
        document = load_release(file)
        title = f"{name_of(document)} {document.value.channel}"
        if title in found:
            raise BadInput(f"{file}: another file is release {title!r} too", "name it otherwise")
        publisher = publisher_of(file, settings, Silent(), say, with_ledger=False)
        found[title] = Source(
            title=title,
            release=document.value,
            publisher=publisher,
            holds=holds_of(document, settings),
        )
    return tuple(found.values())


def _by_stage(title: str, catalog: Catalog | None) -> dict[StageName, tuple[Stage, ...]]:
    found: dict[StageName, list[Stage]] = {}
    for stage in catalog.stages if catalog else ():
        found.setdefault(_name(title, stage.key), []).append(stage)
    return {
        name: tuple(sorted(stages, key=lambda one: -one.built_at)) for name, stages in found.items()
    }


def _held(title: str, holds: Sequence[Hold]) -> dict[StageName, tuple[Hold, ...]]:
    found: dict[StageName, tuple[Hold, ...]] = {}
    for hold in holds:
        key = hold.stage
        name = _name(title, (key.product, key.arch, key.subarch, key.variant))
        found[name] = (*found.get(name, ()), hold)
    return found


def _name(title: str, key: tuple[str, str, str, str]) -> StageName:
    product, arch, subarch, variant = key
    return StageName(release=title, product=product, variant=variant, arch=arch, subarch=subarch)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
