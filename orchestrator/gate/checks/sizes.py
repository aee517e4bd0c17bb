"""How much the tarball, the tree and its folders have grown or shrunk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestrator.formats.gatefile import SizeRule
from orchestrator.gate.checks.subject import Case
from orchestrator.gate.findings import Finding
from orchestrator.gate.sizes import limits, rounded

WHOLE_FIXED, WHOLE_LEAST, WHOLE_BYTES = 0.10, 0.02, 64 << 10
"""For tarball and tree: the change that is allowed until one is learned, the least that is ever
allowed, and bytes that never matter."""
FOLDER_FIXED, FOLDER_LEAST, FOLDER_BYTES = 0.25, 0.10, 1 << 20


def tarball_size(case: Case, rule: SizeRule) -> Iterator[Finding]:
    now = case.candidate.sizes.tarball_bytes
    yield from _whole(rule, "tarball", [item.tarball_bytes for item in case.sizes], now)


def tree_size(case: Case, rule: SizeRule) -> Iterator[Finding]:
    now = case.candidate.sizes.tree_bytes
    yield from _whole(rule, "/", [item.tree_bytes for item in case.sizes], now)


def _whole(rule: SizeRule, path: str, history: Sequence[int], now: int) -> Iterator[Finding]:
    before = history[-1] if history else 0
    message = _beyond(rule, history, now, fixed=WHOLE_FIXED, least=WHOLE_LEAST, spare=WHOLE_BYTES)
    if message := message or _absolute(rule, now):
        yield _finding(path, before, now, message)


def folder_size(case: Case, rule: SizeRule) -> Iterator[Finding]:
    """Folders of two levels; one is no finding where a folder in it explains the change."""
    told: set[str] = set()
    present = case.candidate.sizes.folders
    known = {folder for item in case.sizes[-1:] for folder in item.folders}
    for folder in sorted(present.keys() | known, key=lambda name: (-name.count("/"), name)):
        history = [item.folders.get(folder, 0) for item in case.sizes]
        now = present.get(folder, 0)
        message = _beyond(
            rule, history, now, fixed=FOLDER_FIXED, least=FOLDER_LEAST, spare=FOLDER_BYTES
        )
        if message and folder not in told:
            yield _finding(folder, history[-1], now, message)
        if message:
            told.add(folder.rpartition("/")[0])


def _beyond(
    rule: SizeRule, history: Sequence[int], now: int, *, fixed: float, least: float, spare: int
) -> str:
    """Why `now` is too far from the last of `history`; empty if it is not, or if there is none."""
    if not history or abs(now - history[-1]) <= spare:
        return ""
    before = history[-1]
    limit = limits(rule, history, fixed=fixed, least=least)
    most, smallest = before * (1 + limit.grow), before * (1 - limit.shrink)
    if smallest <= now <= most:
        return ""
    verb, allowed = ("grew", limit.grow) if now > before else ("shrank", limit.shrink)
    share = f" by {abs(now - before) / before:.1%}" if before else ""
    return f"{verb}{share}; {allowed:.1%} is allowed ({limit.reason})"


def _absolute(rule: SizeRule, now: int) -> str:
    if rule.most and now > rule.most:
        return f"is larger than the {rule.most} bytes that the policy allows"
    if now < rule.least:
        return f"is smaller than the {rule.least} bytes that the policy asks for"
    return ""


def _finding(path: str, before: int, now: int, message: str) -> Finding:
    was, is_now = rounded(before, now)
    return Finding(check="", path=path, before=was, after=is_now, message=message)
