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

Named = dict[tuple[str, str], list[Package]]


def packages_lost(case: Case) -> Iterator[Finding]:
    before, after = _both(case)
    for manager, name in sorted(before.keys() - after.keys()):
        message = f"is not installed any more ({manager})"
        yield Finding(check="", path=name, before=_versions(before[manager, name]), message=message)


def packages_added(case: Case) -> Iterator[Finding]:
    before, after = _both(case)
    for manager, name in sorted(after.keys() - before.keys()):
        message = f"was not installed before ({manager})"
        yield Finding(check="", path=name, after=_versions(after[manager, name]), message=message)


def packages_downgraded(case: Case) -> Iterator[Finding]:
    """Packages whose newest version is older than the newest one published."""
    before, after = _both(case)
    for key in sorted(before.keys() & after.keys()):
        manager, name = key
        was, now = _newest(manager, before[key]), _newest(manager, after[key])
        if compare(manager, now, was) < 0:
            message = f"is older than published ({manager})"
            yield Finding(check="", path=name, before=was, after=now, message=message)


def _both(case: Case) -> tuple[Named, Named]:
    """The packages by manager and name: none without a published stage, nothing to compare with."""
    if not case.published:
        return {}, {}
    return _named(case.published), _named(case.candidate)


def _named(stage: Stage) -> Named:
    found: Named = {}
    for package in stage.inventory.packages:
        found.setdefault((package.manager, package.full_name), []).append(package)
    return found


def _newest(manager: str, packages: list[Package]) -> str:
    return max(map(_version, packages), key=sort_key(manager))


def _versions(packages: list[Package]) -> str:
    return joined(set(map(_version, packages)))


def _version(package: Package) -> str:
    return f"{package.epoch}:{package.version}" if package.epoch else package.version


def licences(case: Case, rule: LicenceRule) -> Iterator[Finding]:
    """Packages with a licence that is not allowed, and those whose licence changed; as far as their
    manager's database names licences, which dpkg's does not."""
    before = _named(case.published) if case.published else {}
    for (manager, name), packages in sorted(_named(case.candidate).items()):
        was, now = _licence(before.get((manager, name), [])), _licence(packages)
        if not now or now == was:
            continue
        if rule.allowed and not _is_allowed(now, rule.allowed):
            message = f"its licence is not allowed ({manager})"
        elif was:
            message = f"its licence has changed ({manager})"
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
