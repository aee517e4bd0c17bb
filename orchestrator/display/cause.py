"""Causes of failures as text. Their words come from logs: what is not printable is escaped."""

from __future__ import annotations

from orchestrator.display.printable import visible
from tasks.results import Cause


def brief(cause: Cause | None) -> str:
    """`compile of sys-devel/gcc-13: ...`; empty where no rule knows the cause."""
    if not cause or not cause.rule:
        return ""
    what = cause.phase or cause.kind
    where = f" of {cause.package}" if cause.package else ""
    return visible(f"{what}{where}: {cause.message}")


def described(cause: Cause) -> str:
    """The cause in one line, with its fingerprint and its place in the log."""
    parts = [brief(cause) or "no rule knows the cause", f"fingerprint {visible(cause.fingerprint)}"]
    if cause.excerpt:
        parts.append(f"log lines {cause.excerpt[0].number}-{cause.excerpt[-1].number}")
    return "; ".join(parts)


def excerpt(cause: Cause) -> list[str]:
    """Its lines with their numbers; the one that was matched is marked."""
    return [
        f"  {'>' if line.number == cause.line else ' '} {line.number:>6} │ {visible(line.text)}"
        for line in cause.excerpt
    ]
