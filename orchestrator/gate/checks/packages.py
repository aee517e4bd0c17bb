"""Packages that are gone, new, older, or under another licence."""

from __future__ import annotations

from collections.abc import Iterator

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
    return max((package.version for package in packages), key=sort_key(manager))


def _versions(packages: list[Package]) -> str:
    return joined({package.version for package in packages})
