"""Links that lead nowhere, or out of the stage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from orchestrator.formats.gatefile import LinkRule
from orchestrator.gate.checks.faults import Fault, cut, new_faults
from orchestrator.gate.checks.subject import Case, Stage
from orchestrator.gate.checks.tree import End
from orchestrator.gate.findings import Finding
from tasks.inspection.inventory import Kind

_WHY = {
    End.MISSING: "which the stage does not have",
    End.LOOP: "which is a circle of links, or a chain that is too long",
    End.TOO_LONG: "which is too long to follow",
}


def dangling_links(case: Case, rule: LinkRule) -> Iterable[Finding]:
    """Links to what is missing, save in folders that are filled at run time."""
    folders = tuple(f"{folder.rstrip('/')}/" for folder in rule.run_time)
    return new_faults(lambda stage: _dangling(stage, folders))(case, rule)


def _dangling(stage: Stage, run_time: tuple[str, ...]) -> Iterator[Fault]:
    """A link that climbs above the root is of another check."""
    for path, entry in stage.inventory.files.items():
        if entry.kind is Kind.LINK:
            place = stage.tree.find(path)
            away = place.end is End.MISSING and f"{place.path}/".startswith(run_time)
            if place.end is End.FOUND or place.climbed or away:
                continue
            target = cut(entry.content)
            message = f"leads to {target}, {_WHY[place.end]}"
            yield Fault(path=path, value=target, message=message)
        elif entry.kind is Kind.HARD_LINK and entry.content not in stage.inventory.files:
            target = cut(entry.content)
            message = f"is a hard link to {target}, which the stage does not have"
            yield Fault(path=path, value=target, message=message)


def escaping_links(stage: Stage) -> Iterator[Fault]:
    """Links whose target has more `..` than there are folders above, and files with such names."""
    for path, entry in stage.inventory.files.items():
        if "/../" in f"{path}/":
            yield Fault(path=path, value=cut(path), message="its own name leads out of its folder")
        if entry.kind is Kind.LINK and stage.tree.find(path).climbed:
            target = cut(entry.content)
            yield Fault(path=path, value=target, message=f"leads above the root: {target}")
