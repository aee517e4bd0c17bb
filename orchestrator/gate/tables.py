"""Holds, findings and waivers for a terminal, and as values for programs."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.display.printable import plain
from orchestrator.display.terminal import duration
from orchestrator.gate.findings import Finding, Judgement, Verdict
from orchestrator.gate.holds import Hold
from orchestrator.gate.waivers import Void, Waiver
from tasks.model import short_id

DIGEST_CHARS = 12
SHOWN = 10
COLOURS = {Verdict.HOLD: "red", Verdict.WARN: "yellow", Verdict.PASS: "dim"}


def short_digest(finding: Finding | Waiver) -> str:
    return finding.digest[:DIGEST_CHARS]


def counted(findings: Sequence[object]) -> str:
    return f"{len(findings)} finding{'s' * (len(findings) != 1)}"


# Tables


def findings_table(findings: Iterable[Finding], waived: Iterable[Finding] = ()) -> Table:
    table = _table("finding", "", "check", "what", "before", "after", "")
    for mark, each in (("", findings), ("accepted", waived)):
        for finding in each:
            verdict = mark or str(finding.verdict)
            colour = "dim" if mark else COLOURS[finding.verdict]
            cells = (finding.check, finding.path, finding.before, finding.after, finding.message)
            table.add_row(short_digest(finding), Text(verdict, colour), *map(_text, cells))
    return table


def holds_table(holds: Iterable[Hold], now: float) -> Table:
    table = _table("stage", "build", "held for", "findings", "published")
    for hold in holds:
        table.add_row(
            _text(str(hold.stage)),
            _text(short_id(hold.build)),
            duration(max(0.0, now - hold.since)),
            str(len(hold.holding)),
            _text(short_id(hold.against) if hold.against else "nothing yet"),
        )
    return table


def waivers_table(waivers: Iterable[Waiver], void: Iterable[Void]) -> Table:
    table = _table("finding", "check", "what", "stages", "until", "by", "because")
    for waiver in waivers:
        table.add_row(*_cells(waiver))
    for one in void:
        if one.waiver:
            *cells, _ = _cells(one.waiver)
            table.add_row(*cells, Text(f"does not count: {one.reason}", "red"))
        else:
            reason = Text(f"line {one.line} does not count: {plain(one.reason)}", "red")
            table.add_row(*[""] * 6, reason)
    return table


def print_held(screen: Console, holds: Sequence[Hold], file: Path) -> None:
    """Say what is held, why, and what to do about it."""
    for hold in holds:
        line = f"held by the gate: {hold.stage}, {short_id(hold.build)}, {counted(hold.holding)}"
        screen.print(Text(plain(line), "bold red"))
        for finding in hold.holding[:SHOWN]:
            screen.print(Text(f"  {short_digest(finding)}  {described(finding)}"))
        if (more := len(hold.holding) - SHOWN) > 0:
            screen.print(Text(f"  and {more} more"))
    if holds:
        name, first = shlex.quote(str(file)), short_digest(holds[0].holding[0])
        build = short_id(holds[0].build)
        screen.print(Text(f"look at it: stagefarm gate show {name} {build}"))
        accept = f"stagefarm gate accept {name} {first} --until DATE --because TEXT"
        screen.print(Text(f"accept one: {accept}"))


def described(finding: Finding) -> str:
    """`setuid /usr/bin/foo: got the setuid bit`, in one line."""
    said = f"{finding.check} {finding.path}: {finding.message}"
    return " ".join(plain(said).split())


# For programs


def finding_values(finding: Finding) -> dict[str, Any]:
    return {
        "digest": finding.digest,
        "check": finding.check,
        "path": finding.path,
        "before": finding.before,
        "after": finding.after,
        "verdict": str(finding.verdict),
        "message": finding.message,
    }


def hold_values(hold: Hold) -> dict[str, Any]:
    return {
        "stage": str(hold.stage),
        "build": hold.build,
        "tarball": hold.tarball,
        "sha256": hold.sha256,
        "since": hold.since,
        "published": hold.against,
        "findings": [finding_values(one) for one in hold.findings],
        "accepted": [finding_values(one) for one in hold.waived],
    }


def judgement_values(judged: Judgement) -> dict[str, Any]:
    return {
        "stage": str(judged.stage),
        "build": judged.build,
        "sha256": judged.sha256,
        "published": judged.against,
        "verdict": str(judged.verdict),
        "findings": [finding_values(one) for one in judged.findings],
        "accepted": [finding_values(one) for one in judged.waived],
    }


def waiver_values(waiver: Waiver) -> dict[str, Any]:
    return {
        "digest": waiver.digest,
        "check": waiver.check,
        "path": waiver.path,
        "before": waiver.before,
        "after": waiver.after,
        "stage": waiver.stage,
        "until": str(waiver.until),
        "because": waiver.because,
        "by": waiver.by,
        "at": waiver.at,
    }


def _table(*titles: str) -> Table:
    table = Table(show_edge=False, box=None, pad_edge=False)
    for title in titles:
        justify = "right" if title == "findings" else "left"
        table.add_column(title, justify=justify, overflow="fold")  # type: ignore[arg-type]
    return table


def _cells(waiver: Waiver) -> tuple[Text | str, ...]:
    by, because = _text(waiver.by), _text(waiver.because)
    what = (waiver.check, waiver.path, waiver.stage)
    return (short_digest(waiver), *map(_text, what), str(waiver.until), by, because)


def _text(text: str) -> Text:
    return Text(" ".join(plain(text).split()))
