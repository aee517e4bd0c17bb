"""Packages that are gone, new, older, or under another licence."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from orchestrator.formats.gatefile import LicenceRule
from orchestrator.gate.checks.faults import joined
from orchestrator.gate.checks.subject import Case, Stage
from orchestrator.gate.findings import Finding
from orchestrator.gate.versions import compare, sort_key
from tasks.artifacts.packages import Package

Named = dict[str, list[Package]]
"""The packages of a stage by their names; one can be installed several times."""


def packages_lost(case: Case) -> Iterator[Finding]:
    before, after = _both(case)
    for name in sorted(before.keys() - after.keys()):
        message = f"is not installed any more ({_manager(before[name])})"
        yield Finding(check="", path=name, before=_versions(before[name]), message=message)


def packages_added(case: Case) -> Iterator[Finding]:
    before, after = _both(case)
    for name in sorted(after.keys() - before.keys()) if case.published else ():
        message = f"was not installed before ({_manager(after[name])})"
        yield Finding(check="", path=name, after=_versions(after[name]), message=message)


def packages_downgraded(case: Case) -> Iterator[Finding]:
    """Packages whose newest version is older than the newest one published."""
    before, after = _both(case)
    for name in sorted(before.keys() & after.keys()):
        was, now = _newest(before[name]), _newest(after[name])
        manager = _manager(after[name])
        if compare(manager, now, was) < 0:
            message = f"is older than published ({manager})"
            yield Finding(check="", path=name, before=was, after=now, message=message)


def _both(case: Case) -> tuple[Named, Named]:
    """The packages of the published stage and of the candidate. Where two managers have a package
    of one name, it is called `dpkg:name`."""
    managers: dict[str, set[str]] = {}
    for stage in filter(None, (case.published, case.candidate)):
        for package in stage.inventory.packages:
            managers.setdefault(package.full_name, set()).add(package.manager)

    def named(stage: Stage | None) -> Named:
        found: Named = {}
        for package in stage.inventory.packages if stage else ():
            name = package.full_name
            path = name if len(managers[name]) == 1 else f"{package.manager}:{name}"
            found.setdefault(path, []).append(package)
        return found

    return named(case.published), named(case.candidate)


def _manager(packages: list[Package]) -> str:
    return packages[0].manager


def _newest(packages: list[Package]) -> str:
    return max(map(_version, packages), key=sort_key(_manager(packages)))


def _versions(packages: list[Package]) -> str:
    return joined(set(map(_version, packages)))


def _version(package: Package) -> str:
    return f"{package.epoch}:{package.version}" if package.epoch else package.version


def licences(case: Case, rule: LicenceRule) -> Iterator[Finding]:
    """Packages with a licence that is not allowed, and those whose licence changed; as far as their
    manager's database names licences, which dpkg's does not."""
    before, after = _both(case)
    for name, packages in sorted(after.items()):
        was, now = _licence(before.get(name, [])), _licence(packages)
        if not now or now == was:
            continue
        if rule.allowed and not _is_allowed(now, rule.allowed):
            message = f"its licence is not allowed ({_manager(packages)})"
        elif was:
            message = f"its licence has changed ({_manager(packages)})"
        else:
            continue
        yield Finding(check="", path=name, before=was, after=now, message=message)


def _licence(packages: list[Package]) -> str:
    return joined({package.licence for package in packages if package.licence})


_LICENCE_WORDS = re.compile(r"[^\s()|,]+")
_OPERATORS = {"AND", "OR", "WITH", "and", "or"}


def _is_allowed(licence: str, allowed: Sequence[str]) -> bool:
    """Whether the whole text is allowed, or each licence that it names."""
    words = set(_LICENCE_WORDS.findall(licence)) - _OPERATORS
    return any(fnmatchcase(licence, pattern) for pattern in allowed) or all(
        any(fnmatchcase(word, pattern) for pattern in allowed) for word in words
    )
