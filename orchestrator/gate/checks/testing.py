"""The tests that the build host ran in the stage."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.gate.checks.subject import Case
from orchestrator.gate.findings import Finding
from tasks.artifacts.gate_tests import Outcome


def tests(case: Case) -> Iterator[Finding]:
    """Tests that failed, and required ones that were not run."""
    found = {test.name: test for test in case.tests or ()}
    for name in sorted({*found, *case.required_tests}):
        test = found.get(name)
        if test is None:
            yield _finding(name, "missing", "the policy requires it, and the host did not run it")
        elif test.outcome is Outcome.FAILED:
            yield _finding(name, "failed", test.message or "it failed")
        elif test.outcome is Outcome.SKIPPED and name in case.required_tests:
            yield _finding(name, "skipped", f"the policy requires it: {test.message}")


def _finding(name: str, outcome: str, message: str) -> Finding:
    return Finding(check="", path=name, after=outcome, message=message)
