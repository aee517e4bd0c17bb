"""The two kinds of checks: faults of a stage that the published one does not have, and changes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from orchestrator.formats.gatefile import FaultRule, Reported
from orchestrator.gate.checks.subject import Case, Stage
from orchestrator.gate.findings import Finding

VALUE_MAX = 400
"""A longer value of a finding is cut."""

Check: TypeAlias = Callable[[Case, Any], Iterable[Finding]]
"""A check takes what is judged and its rule; its findings get name and verdict later."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Fault:
    """Something wrong with `path`, which may have several faults. Two are the same if path and
    value are; so `value` leaves out what differs from night to night, which `message` may have."""

    path: str
    value: str
    message: str = field(compare=False)


def changes(find: Callable[[Case], Iterable[Finding]]) -> Check:
    """The check that finds what `find` finds, for which a rule has no limits."""
    return lambda case, _: find(case)


def new_faults(look: Callable[[Stage], Iterable[Fault]]) -> Check:
    """The check that finds what `look` finds in the candidate and not in the published stage."""

    def check(case: Case, rule: FaultRule) -> Iterator[Finding]:
        present = set(look(case.candidate))
        known = set(look(case.published)) if case.published else set()
        return findings_of(present, known, rule)

    return check


def findings_of(present: set[Fault], known: set[Fault], rule: FaultRule) -> Iterator[Finding]:
    """One finding for each path with new faults; `before` has those that are gone."""
    new = present if rule.report is Reported.ALL else present - known
    gone = _by_path(known - present)
    for path, faults in _by_path(new).items():
        yield Finding(
            check="",
            path=path,
            before=joined(fault.value for fault in gone.get(path, ())),
            after=joined(fault.value for fault in faults),
            message="; ".join(fault.message for fault in faults),
        )


def _by_path(faults: Iterable[Fault]) -> dict[str, list[Fault]]:
    found: dict[str, list[Fault]] = {}
    for fault in sorted(faults):
        found.setdefault(fault.path, []).append(fault)
    return found


def joined(values: Iterable[str]) -> str:
    return ", ".join(sorted(values))


def cut(text: str, most: int = 200) -> str:
    """The beginning of a text that may be absurdly long; its digest tells it from others."""
    if len(text) <= most:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
    return f"{text[:most]}... ({len(text)} characters, sha256 {digest[:16]})"
