"""One small change of one file, that some test should notice."""

from __future__ import annotations

import difflib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutant:
    """`file`, relative to the project, as it would be with `text` in it.

    `was` and `now` are the lines that differ, with their white space evened out. They name the
    mutant in survivors.toml, so they stay as they are when lines above them move.
    """

    file: str
    was: str
    now: str
    text: str

    @property
    def name(self) -> tuple[str, str, str]:
        return self.file, self.was, self.now


def mutant_of(file: str, original: str, mutated: str) -> Mutant:
    was, now = original.splitlines(), mutated.splitlines()
    changes = difflib.SequenceMatcher(None, was, now, autojunk=False).get_opcodes()
    spans = [change for change in changes if change[0] != "equal"]
    first, last = spans[0], spans[-1]
    return Mutant(
        file, _even(was[first[1] : last[2]]), _even(now[first[3] : last[4]]), text=mutated
    )


def _even(lines: list[str]) -> str:
    return " ".join(" ".join(lines).split())
