"""Security advisories about installed packages, as far as data in the stage itself knows them.

A Gentoo tree has GLSAs in XML. For Debian it is the data that debsecan downloads, if somebody put a
copy of it into /var/lib/debsecan. What neither knows is not found.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from xml.etree import ElementTree

from orchestrator.formats.gatefile import FaultRule
from orchestrator.gate.checks import debsecan
from orchestrator.gate.checks.faults import Fault, findings_of
from orchestrator.gate.checks.subject import Case, Stage
from orchestrator.gate.findings import Finding
from orchestrator.gate.versions import compare
from tasks.artifacts.packages import Package

GLSA_MAX = 1 << 20
"""Bytes of a file: real ones have some thousand."""
_GLSA = re.compile(r".*/metadata/glsa/glsa-[0-9-]+\.xml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Versions of a package: `lt`, `le`, `eq`, `ge` or `gt`; with `r` before it, only revisions of
    the same version. `slot` may be `*`."""

    order: str
    version: str
    slot: str = "*"

    def holds(self, package: Package) -> bool:
        if self.slot not in ("*", "", package.slot.partition("/")[0]):
            return False
        version, limit, order = package.version, self.version, self.order
        if order == "eq" and limit.endswith("*"):
            return version.startswith(limit[:-1])
        if order.startswith("r"):
            if _REVISION.sub("", version) != _REVISION.sub("", limit):
                return False
            order = order[1:]
        found = compare(package.manager, version, limit)
        return {"lt": found < 0, "le": found <= 0, "eq": not found, "ge": found >= 0}.get(
            order, found > 0 if order == "gt" else False
        )


_REVISION = re.compile(r"-r[0-9]+$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Advisory:
    """What one advisory says of one package."""

    name: str
    title: str
    package: str
    vulnerable: tuple[Range, ...]
    unaffected: tuple[Range, ...]

    def affects(self, package: Package) -> bool:
        vulnerable = any(item.holds(package) for item in self.vulnerable)
        return vulnerable and not any(item.holds(package) for item in self.unaffected)


def advisories(case: Case, rule: FaultRule) -> Iterator[Finding]:
    """Advisories that the candidate's data has about its packages. They are new if the published
    stage's packages are not affected, by the same data: what became known since is not worse in
    the candidate."""
    glsas, debian = list(_glsas(case.candidate)), debsecan.read(case.candidate.inventory.texts)

    def affected(stage: Stage) -> set[Fault]:
        packages = stage.inventory.packages
        return {*_affected(packages, glsas), *debsecan.affected(packages, debian)}

    published = affected(case.published) if case.published else set()
    yield from findings_of(affected(case.candidate), published, rule)


def _affected(packages: Sequence[Package], known: list[Advisory]) -> Iterator[Fault]:
    installed: dict[str, list[Package]] = {}
    for package in packages:
        if package.manager == "portage":
            installed.setdefault(package.name, []).append(package)
    for advisory in known:
        for package in installed.get(advisory.package, ()):
            if advisory.affects(package):
                message = f"{package.version}: {advisory.name}, {advisory.title}"
                yield Fault(path=package.name, value=advisory.name, message=message)


# GLSA


def _glsas(stage: Stage) -> Iterator[Advisory]:
    """The advisories of Gentoo in the tree; a file that is damaged is left out."""
    for path, text in stage.inventory.texts.items():
        if _GLSA.fullmatch(path) and len(text) <= GLSA_MAX and b"<!ENTITY" not in text:
            with suppress(ElementTree.ParseError):
                yield from _of_glsa(ElementTree.fromstring(text))  # noqa: S314 (no entities)


def _of_glsa(root: ElementTree.Element) -> Iterator[Advisory]:
    for item in root.iterfind("affected/package"):
        yield Advisory(
            name=f"GLSA-{root.get('id', '')[:40]}",
            title=(root.findtext("title") or "").strip()[:200],
            package=item.get("name", ""),
            vulnerable=tuple(_ranges(item, "vulnerable")),
            unaffected=tuple(_ranges(item, "unaffected")),
        )


def _ranges(item: ElementTree.Element, kind: str) -> Iterator[Range]:
    for found in item.iterfind(kind):
        yield Range(
            order=found.get("range", ""),
            version=(found.text or "").strip(),
            slot=found.get("slot", "*"),
        )
