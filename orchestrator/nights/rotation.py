"""Which stages a night builds, as far as their failures decide. Pure.

A stage that fails night after night is built less often, every 2nd, 4th, 8th night, and leaves the
rotation in the end, until a person acts. The first success ends both.
"""

from __future__ import annotations

from dataclasses import replace
from shlex import quote

from orchestrator.formats.batchfile import Failures
from tasks.ledger.stages import StageState, Standing
from tasks.model import BuildState

DOUBLED_MAX = 10


def after_outcome(
    state: StageState, outcome: BuildState | None, *, returned_at: float
) -> StageState:
    """The stage once it is known how its newest build ended; None if the ledger no longer has that.
    `returned_at` is when somebody last had it return."""
    if outcome is BuildState.SUCCEEDED:
        good = replace(state, good=state.build, good_seed=state.seed)
        return replace(good, failures=0, counted="", waited=0)
    if returned_at > state.returned:
        anew = replace(state, failures=0, counted=state.build, waited=0)
        return replace(anew, returned=returned_at)
    if outcome is BuildState.FAILED and state.counted != state.build:
        return replace(state, failures=state.failures + 1, counted=state.build, waited=0)
    return state


def rotated(state: StageState, failures: Failures, schedule: str) -> StageState:
    """The stage with its standing in the next night, by its failures alone: built, backed off, or
    left."""
    times = f"after {state.failures} failure{'s' * (state.failures != 1)} in a row"
    if failures.leave_after and state.failures >= failures.leave_after:
        said = f"{times}; stagefarm schedule return {schedule} {quote(state.job)}"
        return replace(state, standing=Standing.LEFT, said=said)
    if failures.backoff_after and state.failures >= failures.backoff_after:
        every = 2 ** min(state.failures - failures.backoff_after + 1, DOUBLED_MAX)
        if state.waited + 1 < every:
            said = f"{times} it is built every {every}{'nd' if every == 2 else 'th'} night"
            waited = state.waited + 1
            return replace(state, standing=Standing.BACKED_OFF, said=said, waited=waited)
    return replace(state, standing=Standing.BUILT, said="")
