"""A lineage in words: one line for each generation, how it ends, and what that proves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
from rich.markup import escape
from rich.table import Table

from orchestrator.display.printable import plain
from orchestrator.display.times import moment
from orchestrator.origin.attestation import Why
from orchestrator.origin.chain import SHOWN_CHARS, Lineage
from orchestrator.origin.examine import Generation, Outcome, Rebuilt
from orchestrator.origin.ring import Signer, Standing
from tasks.model import short_id
from tasks.results import SeedOrigin

KEY_CHARS = 20
SHOWN_MAX_CHARS = 500
WORDS = {
    Outcome.SAME: "same bytes",
    Outcome.SAME_HOST: "same bytes, but by the same key",
    Outcome.DIFFERS: "differs",
    Outcome.UNRELATED: "not of the same job and seed",
}


def _clean(text: str) -> str:
    """Text from elsewhere, for a table."""
    return escape(_one_line(text))


def signer_name(signer: Signer, said: str = "") -> str:
    """`builder7`, `builder7 (says the release)`, or `builder7? (ed25519:…, not known here)`."""
    match signer.standing:
        case Standing.KNOWN:
            return _clean(signer.name or f"{signer.key[:KEY_CHARS]}…")
        case Standing.VOUCHED:
            return f"{_clean(signer.name)} (says the release)"
    key = signer.key if len(signer.key) <= KEY_CHARS else f"{signer.key[:KEY_CHARS]}…"
    who = f"{_clean(said)}? " if said else ""
    return f"{who}({_clean(key)}, not known here)"


def lineage_table(lineage: Lineage) -> Table:
    table = Table(show_edge=False, box=None, pad_edge=False)
    for title in ("", "stage", "sha256", "built", "on", "job signed by", "gate", "built again"):
        table.add_column(title, justify="left" if title else "right", overflow="fold")
    for number, one in enumerate(lineage.generations):
        table.add_row(
            str(number),
            _clean(short_id(one.build)),
            f"{one.sha256[:SHOWN_CHARS]}…",
            moment(one.finished),
            signer_name(one.host, one.said_host),
            _submitter(one),
            ", ".join(_gate(one)) or "-",
            "\n".join(map(_rebuilt, one.rebuilds)) or "-",
        )
    return table


def _submitter(one: Generation) -> str:
    if one.submitter is None:
        return "whom its host knew"
    return signer_name(one.submitter, one.said_submitter)


def _gate(one: Generation) -> Iterator[str]:
    for said in one.gate:
        by = "" if said.by.counts else f" by {signer_name(said.by)}"
        yield f"{_clean(said.result).lower()}{by}"


def _rebuilt(one: Rebuilt) -> str:
    where = ", on the same machine" if one.same_machine else ""
    return f"{WORDS[one.outcome]} on {signer_name(one.host, one.said_host)}{where}"


# What follows from it


def summary_lines(lineage: Lineage) -> list[str]:
    """What can be said of the whole chain, for people. It is safe for a terminal."""
    return [_one_line(line) for line in _lines(lineage)]


def _lines(lineage: Lineage) -> Iterator[str]:
    if lineage.broken:
        yield f"broken at {lineage.broken}"
    if lineage.by and not lineage.by.counts:
        yield "where the chain ends is not signed by a release that is known here"
    for address in lineage.generations[0].commits if lineage.generations else ():
        yield f"its job is from {address}"
    total = len(lineage.generations)
    count = (
        f"{lineage.reproduced} of {total} generation{'s' * (total != 1)} reproduced independently"
    )
    if same := _on_same_machines(lineage):
        count += f" ({same} of them on the same machine)"
    yield f"{count}; {_end(lineage)}"


def _on_same_machines(lineage: Lineage) -> int:
    """How many generations were reproduced only by other keys of their own machine."""
    return sum(
        one.reproduced
        and all(
            again.same_machine
            for again in one.rebuilds
            if again.outcome is Outcome.SAME and again.host.counts
        )
        for one in lineage.generations
    )


def _end(lineage: Lineage) -> str:
    if lineage.broken:
        return "what comes before is not shown"
    match lineage.end.why:
        case Why.ROOT:
            return f"root seed {_one_line(origin_text(lineage.origin, lineage.end.seed))}"
        case Why.PACKAGES:
            return "the first was built from packages, without a seed"
        case Why.MISSING:
            return "what comes before is not shown: there is no lineage beside it"
        case why:
            said = "older ones are not kept" if why is Why.CUT else "what comes before is not shown"
            return f"{said}: {_one_line(lineage.end.reason)}"


def _one_line(text: str) -> str:
    """Text from elsewhere, for a terminal: names and addresses have one line, and an end."""
    return " ".join(plain(text[:SHOWN_MAX_CHARS]).split())


def origin_text(origin: SeedOrigin, sha256: str) -> str:
    """`from https://…, signed by OpenPGP key ABCD`: as its host says it."""
    where = f"from {origin.uri}" if origin.uri else f"{sha256[:SHOWN_CHARS]}…"
    words = [word for known in origin.verified if (word := _verified(known))]
    return f"{where}, {' and '.join(words)}" if words else f"{where}, not verified by its host"


def _verified(known: str) -> str:
    kind, _, rest = known.rpartition(" ")
    match kind:
        case "openpgp":
            return f"signed by OpenPGP key {rest}"
        case "pointer openpgp":
            return f"named by a pointer signed by OpenPGP key {rest}"
        case "checksums":
            return f"with the checksums at {rest}"
        case "stagefarm":
            return f"signed as build {rest}"
    return f"with the {known} that the job names" if known in ("sha256", "sha512") else ""


def as_values(lineage: Lineage) -> dict[str, Any]:
    """The lineage as values for JSON."""
    found: dict[str, Any] = msgspec.to_builtins(lineage)
    outcomes = Counter(str(again.outcome) for one in lineage.generations for again in one.rebuilds)
    for number, (value, one) in enumerate(
        zip(found["generations"], lineage.generations, strict=True)
    ):
        value |= {"number": number, "reproduced": one.reproduced}
    end = {"why": "", "seed": "", "reason": "", **found.pop("end")}
    return {
        **found,
        "end": {**end, "origin": msgspec.to_builtins(lineage.origin)},
        "reproduced": lineage.reproduced,
        "rebuilds": dict(outcomes),
        "shown": lineage.is_shown,
        "summary": summary_lines(lineage)[-1],
    }
