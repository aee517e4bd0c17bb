"""The results of the tests that a build host runs in a stage before it is published.

They lie beside the tarball as `<tarball>.tests.json`, among the files whose digests the host signs.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

ENDING = "tests.json"


class Outcome(StrEnum):
    """`skipped`: the stage has nothing to test, or the host cannot."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateTest:
    """One test: its name, such as `shell`, or that of a hook; `message` says why it failed or was
    skipped."""

    name: str
    outcome: Outcome
    message: str = ""
    duration_s: float = 0.0
