"""Notes in the ledger which builds a gate holds, so that `status` and `why` can say so.

These are hints for people: whether a stage is published is decided without them, and a publisher
that may not write to Redis publishes all the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from orchestrator.farm.lookup import open_ledger
from orchestrator.gate.holds import Hold
from tasks.errors import StagefarmError


def note_holds(held: Iterable[Hold], ended: Iterable[Hold]) -> None:
    """Note that `held` are held, and that `ended` are not any more."""
    texts = {hold.build: "" for hold in ended} | {hold.build: _text(hold) for hold in held}
    if not texts:
        return
    with suppress(StagefarmError):
        ledger = open_ledger()
        for build, text in texts.items():
            ledger.note_gate(build, text)


def _text(hold: Hold) -> str:
    count = len(hold.holding)
    return f"held by the gate: {count} finding{'s' * (count != 1)}"
