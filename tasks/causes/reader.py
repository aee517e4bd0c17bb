"""Finds the cause in the lines of a log. Pure: from lines and rules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tasks.causes.fingerprint import fingerprint, normalised
from tasks.causes.log import LogLine, after_hooks, of_last_hook
from tasks.causes.rules import Place, Rule, RuleSet
from tasks.results import Cause, NumberedLine

AROUND = 4
"""So many lines before and after are part of an excerpt."""
EXCERPT_CHARS = 240
MESSAGE_CHARS = 300
PACKAGE_CHARS = 120
HITS_MAX = 1_000

IN_HOOKS = ("", "HookFailed", "TimedOut")
"""The errors that come of what a hook did; for others, what hooks printed before is no reason."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A rule that matches the line at `index`, with its groups."""

    index: int
    rule: Rule
    groups: dict[str, str]


@dataclass(frozen=True, slots=True)
class Spot:
    """A place that matches the line at `index`, with its groups."""

    index: int
    place: Place
    groups: dict[str, str] = field(default_factory=dict)


def find_cause(
    lines: Sequence[LogLine], rules: RuleSet, *, error: str = "", reason: str = ""
) -> Cause | None:
    """Why a build failed that ended with the error of class `error` and the message `reason`; both
    are empty for a log of which nothing else is known. Where no rule matches, the reason is the
    message; None if there is none."""
    part = of_last_hook(lines) if error in IN_HOOKS else after_hooks(lines)
    told = [LogLine(0, f"{error}: {' '.join(reason.split())}")] if error else []
    searched = [*part, *told]
    hits, spots = _search(searched, rules)
    if not hits:
        return _unknown(lines, reason) if reason else None
    hit = _first(hits, searched)
    if hit.index < len(part):
        return _cause(hit, searched, spots, _excerpt(part, hit.index))
    return _cause(hit, searched, spots, _excerpt(lines, len(lines)))


def _search(lines: Sequence[LogLine], rules: RuleSet) -> tuple[list[Hit], list[Spot]]:
    """What matches: the first HITS_MAX hits of the lowest order, and all places."""
    hits: list[Hit] = []
    spots: list[Spot] = []
    lowest = 1_000
    for index, line in enumerate(lines):
        for position in rules.matching(line.text) if line.text else ():
            found = rules.all[position]
            if isinstance(found, Place):
                spots.append(Spot(index, found, rules.groups(position, line.text)))
            elif found.order <= lowest and (found.order < lowest or len(hits) < HITS_MAX):
                hits = hits if found.order == lowest else []
                lowest = found.order
                hits.append(Hit(index, found, rules.groups(position, line.text)))
    return hits, spots


def _first(hits: Sequence[Hit], lines: Sequence[LogLine]) -> Hit:
    """The first hit, whatever the order in which the jobs of a parallel build printed: of the rule
    that hit first, the first hit of each unit, and of these the one whose message sorts first."""
    rule = hits[0].rule
    units: dict[str, Hit] = {}
    for hit in hits:
        if hit.rule is rule:
            units.setdefault(hit.groups.get("unit", ""), hit)
    return min(units.values(), key=lambda hit: (normalised(_message(hit, lines)), hit.index))


def _message(hit: Hit, lines: Sequence[LogLine]) -> str:
    line = lines[hit.index]
    if hit.rule.says:
        return hit.rule.says
    if hit.rule.next_line:
        return next((t for t in _texts_after(hit.index, lines, line.hook) if t), line.text.strip())
    return hit.groups.get("message", line.text).strip()


def _texts_after(index: int, lines: Sequence[LogLine], hook: str) -> Iterable[str]:
    following = lines[index + 1 : index + 1 + AROUND]
    return (line.text.lstrip(" *").rstrip() for line in following if line.hook == hook)


def _cause(
    hit: Hit,
    lines: Sequence[LogLine],
    spots: Sequence[Spot],
    excerpt: tuple[NumberedLine, ...],
) -> Cause:
    package, phase = _place(hit, spots)
    package = hit.groups.get("package") or package
    phase = hit.groups.get("phase") or hit.rule.phase or phase
    message = _short(_message(hit, lines), MESSAGE_CHARS)
    return Cause(
        rule=hit.rule.name,
        kind=hit.rule.kind,
        message=message,
        fingerprint=fingerprint(hit.rule.kind, "" if hit.rule.shared else package, message),
        phase=_short(phase, PACKAGE_CHARS),
        package=_short(package, PACKAGE_CHARS),
        line=lines[hit.index].number,
        excerpt=excerpt,
    )


def _place(hit: Hit, spots: Sequence[Spot]) -> tuple[str, str]:
    """The package and phase of the line: as the next place that follows a fault says, else as the
    last ones before do, unless what was built has ended."""
    for spot in spots:
        if spot.place.follows and spot.index >= hit.index:
            return spot.groups.get("package", ""), spot.groups.get("phase", spot.place.phase)
    phase = ""
    for spot in reversed(spots):
        if spot.index > hit.index or spot.place.follows:
            continue
        if spot.place.ends:
            break
        phase = phase or spot.groups.get("phase", spot.place.phase)
        if package := spot.groups.get("package"):
            return package, phase
    return "", phase


def _unknown(lines: Sequence[LogLine], reason: str) -> Cause:
    message = _short(reason, MESSAGE_CHARS)
    return Cause(
        rule="",
        kind="unknown",
        message=message,
        fingerprint=fingerprint("unknown", "", message),
        excerpt=_excerpt(lines, len(lines)),
    )


def _excerpt(lines: Sequence[LogLine], index: int) -> tuple[NumberedLine, ...]:
    """The lines around `index`; the last ones if that is behind the end."""
    start = max(0, min(index, len(lines)) - AROUND)
    return tuple(
        NumberedLine(number=line.number, text=_short(line.text, EXCERPT_CHARS))
        for line in lines[start : index + 1 + AROUND]
    )


def _short(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
