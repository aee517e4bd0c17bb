"""Stages that fail night after night are built less often, and leave the rotation."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.formats.batchfile import Failures
from orchestrator.formats.reader import Count
from orchestrator.nights.rotation import after_outcome, rotated
from tasks.ledger.stages import StageState, Standing
from tasks.model import BuildState

RULES = Failures(backoff_after=Count(2), leave_after=Count(5))
STAGE = StageState(name="stage3 x86", job="stage3", build="b-0")


def nights(count: int, rules: Failures, outcome: BuildState = BuildState.FAILED) -> str:
    """What becomes of a stage whose builds all end so: a letter for each night."""
    state, letters = StageState(name="stage3 x86", job="stage3"), ""
    for night in range(count):
        state = after_outcome(state, outcome if state.build else None, returned_at=0.0)
        state = rotated(state, rules, "nightly")
        if state.standing is Standing.BUILT:
            state = replace(state, build=f"b-{night}", waited=0)
        letters += {Standing.BUILT: "b", Standing.BACKED_OFF: "-", Standing.LEFT: "."}[
            state.standing
        ]
    return letters


def test_what_fails_is_built_less_and_less_often_and_leaves() -> None:
    #                            2 failures  3      4          5: it leaves
    assert nights(20, RULES) == "bb" + "-b" + "---b" + "-------b" + "...."
    assert nights(12, Failures(leave_after=Count(3))) == "bbb........."
    assert nights(9, Failures(backoff_after=Count(1))) == "b-b---b--"
    assert nights(9, Failures()) == "b" * 9


@pytest.mark.parametrize(
    "outcome", [BuildState.SUCCEEDED, BuildState.CANCELLED, BuildState.RUNNING]
)
def test_what_does_not_fail_stays(outcome: BuildState) -> None:
    assert nights(9, RULES, outcome) == "b" * 9


def test_a_failure_counts_once_and_a_success_ends_them() -> None:
    once = after_outcome(STAGE, BuildState.FAILED, returned_at=0.0)
    assert after_outcome(once, BuildState.FAILED, returned_at=0.0) == once
    assert once.failures == 1
    well = after_outcome(replace(once, failures=9, seed="s"), BuildState.SUCCEEDED, returned_at=0.0)
    assert (well.failures, well.good, well.good_seed) == (0, "b-0", "s")
    assert after_outcome(once, None, returned_at=0.0) == once, "the ledger has forgotten its build"


def test_a_stage_that_a_person_has_return_begins_anew_once() -> None:
    left = replace(STAGE, failures=5, counted="b-0", standing=Standing.LEFT, since=100.0)
    back = after_outcome(left, BuildState.FAILED, returned_at=200.0)
    assert (back.failures, rotated(back, RULES, "nightly").standing) == (0, Standing.BUILT)
    failed = after_outcome(replace(back, build="b-1"), BuildState.FAILED, returned_at=200.0)
    assert failed.failures == 1, "it returned once, not for good"


def test_the_reason_says_what_to_do() -> None:
    left = rotated(replace(STAGE, failures=5, job="a b"), RULES, "nightly")
    assert left.said == "after 5 failures in a row; stagefarm schedule return nightly 'a b'"
    off = rotated(replace(STAGE, failures=3), RULES, "nightly")
    assert off.said == "after 3 failures in a row it is built every 4th night"
