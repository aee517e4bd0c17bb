"""Finds what is wrong with a stage: all checks of a policy on its inventory."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from fnmatch import translate

from orchestrator.formats.gatefile import Gatefile, Rule, Verdict
from orchestrator.gate.checks.faults import VALUE_MAX, cut
from orchestrator.gate.checks.subject import Case, Stage
from orchestrator.gate.checks.table import CHECKS
from orchestrator.gate.findings import Finding, StageKey
from orchestrator.gate.sizes import SizeRecord, size_record
from tasks.artifacts.gate_tests import GateTest
from tasks.inspection.inventory import Inventory

FINDINGS_MAX = 1000
"""Of one check; how many more there are is one finding more."""


def find(
    candidate: Inventory,
    published: Inventory | None,
    policy: Gatefile,
    *,
    stage: StageKey | None = None,
    sizes: Sequence[SizeRecord] = (),
    tests: Sequence[GateTest] | None = None,
) -> tuple[Finding, ...]:
    """All findings, sorted, those that hold first. `stage` chooses among the policy's overrides;
    `sizes` are those of the last published stages, the oldest first; `tests` is None if the build
    host recorded none."""
    case = Case(
        candidate=Stage(candidate),
        published=Stage(published) if published else None,
        sizes=_history(sizes, published, policy.learn_from),
        tests=tests,
        required_tests=policy.require_tests,
    )
    checks = policy.checks
    if stage:
        checks = policy.checks_for(
            product=stage.product, variant=stage.variant, arch=stage.arch, subarch=stage.subarch
        )
    found: list[Finding] = []
    for name, check in CHECKS.items():
        rule: Rule = getattr(checks, name)
        if rule.verdict is not Verdict.PASS:
            found += _kept(name, rule, check(case, rule))
    return tuple(sorted(found, key=lambda item: (item.verdict is not Verdict.HOLD, item)))


def _history(
    sizes: Sequence[SizeRecord], published: Inventory | None, most: int
) -> Sequence[SizeRecord]:
    """The records that count; the last one is that of the published stage, if there is one."""
    known = list(sizes)
    if published and (not known or known[-1] != size_record(published)):
        known.append(size_record(published))
    return known[-max(most, 1) :]


def _kept(name: str, rule: Rule, found: Iterable[Finding]) -> Iterator[Finding]:
    """The findings that the rule does not ignore, complete and as text, as many as are shown."""
    ignored = [re.compile(translate(pattern)) for pattern in rule.ignore]
    more = 0
    for count, finding in enumerate(sorted(found)):
        if any(pattern.match(finding.path) for pattern in ignored):
            continue
        if count >= FINDINGS_MAX:
            more += 1
            continue
        yield _complete(name, rule, finding)
    if more:
        message = f"there are {more} more findings of this check"
        finding = Finding(check=name, path="", after=f"more than {FINDINGS_MAX}", message=message)
        yield replace(finding, verdict=rule.verdict)


def _complete(name: str, rule: Rule, finding: Finding) -> Finding:
    return Finding(
        check=name,
        path=_readable(finding.path),
        before=cut(_text(finding.before), VALUE_MAX),
        after=cut(_text(finding.after), VALUE_MAX),
        verdict=rule.verdict,
        message=cut(_text(finding.message), VALUE_MAX),
    )


def _readable(path: str) -> str:
    """A path that is not UTF-8 as Python writes bytes: no other path begins with `b'`."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return repr(os.fsencode(path))
    return path


def _text(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
