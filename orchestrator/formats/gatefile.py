"""Gate files: which checks a stage must pass before it is published, and their limits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, ClassVar

from orchestrator.formats.reader import (
    Count,
    Document,
    Key,
    Seconds,
    Size,
    read_document,
    read_over,
    read_text,
)
from tasks.errors import Problem, SpecProblems

GATE = "the gate file's folder"
WEEK = Seconds(7 * 24 * 3600)
LEARN_FROM = Count(20)
NO_LIMIT = Size(0)
GATE = "the gate file's folder"


class Verdict(StrEnum):
    """What a finding means for the stage, and what all of them together do."""

    PASS = "pass"  # noqa: S105
    WARN = "warn"
    HOLD = "hold"


class Reported(StrEnum):
    """Which faults are findings: those that the published stage does not have, or all."""

    NEW = "new"
    ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A check. Its verdict alone may be written for it: `setuid: warn`."""

    SHORT: ClassVar[str] = "verdict"

    verdict: Annotated[
        Verdict, Key("What its findings do with the stage; `pass`: they are not looked for.")
    ] = Verdict.HOLD
    ignore: Annotated[
        tuple[str, ...],
        Key("Paths, or names of packages, that are no findings; `*` matches any text, `/` too."),
    ] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRule(Rule):
    """A check for faults. Those that the published stage has already are no findings."""

    report: Annotated[
        Reported, Key("`all` finds those too that the published stage has already.")
    ] = Reported.NEW


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkRule(FaultRule):
    """A check for links that lead nowhere."""

    run_time: Annotated[
        tuple[str, ...],
        Key("Folders that are filled when the system runs: links into them are no faults."),
    ] = ("/proc", "/run", "/dev", "/sys", "/tmp")  # noqa: S108


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeRule(Rule):
    """A check of a size. Without `grow` and `shrink` the limits are learned from the stages that
    were published."""

    grow: Annotated[Count | None, Key("Percent that it may be larger than the published one.")] = (
        None
    )
    shrink: Annotated[
        Count | None, Key("Percent that it may be smaller than the published one.")
    ] = None
    least: Annotated[Size, Key("It may never be smaller.")] = NO_LIMIT
    most: Annotated[Size, Key("It may never be larger; 0: no limit.")] = NO_LIMIT


@dataclass(frozen=True, slots=True, kw_only=True)
class LicenceRule(Rule):
    """A check of the licences that the packages' databases name."""

    allowed: Annotated[
        tuple[str, ...], Key("Licences that packages may have, or patterns; default: any.")
    ] = ()


WARN, HOLD = Rule(verdict=Verdict.WARN), Rule()
EXAMPLES = ("/usr/share/doc/*", "*/test/*", "*/tests/*")
"""Where keys and scripts are that nobody uses."""
DEBUGGING = ("/usr/lib/debug/*",)
"""Symbols of programs, with headers as theirs, that nobody starts."""
FAULT_WARN, FAULT_HOLD = FaultRule(verdict=Verdict.WARN), FaultRule()
SIZE_WARN, SIZE_HOLD = SizeRule(verdict=Verdict.WARN), SizeRule()


@dataclass(frozen=True, slots=True, kw_only=True)
class Checks:
    """The checks, each with its limits and its verdict."""

    packages_lost: Annotated[Rule, Key("Packages that are not in the stage any more.")] = HOLD
    packages_added: Annotated[Rule, Key("Packages that the published stage does not have.")] = WARN
    packages_downgraded: Annotated[Rule, Key("Packages that are older than published.")] = HOLD
    licences: Annotated[
        LicenceRule, Key("Packages whose licence has changed, or is not allowed.")
    ] = LicenceRule(verdict=Verdict.WARN)
    advisories: Annotated[
        FaultRule, Key("Packages with security advisories known to data in the stage.")
    ] = FAULT_WARN
    tarball_size: Annotated[SizeRule, Key("The size of the tarball.")] = SIZE_HOLD
    tree_size: Annotated[SizeRule, Key("The size of all files.")] = SIZE_HOLD
    folder_size: Annotated[SizeRule, Key("The sizes of folders, two levels deep.")] = SIZE_WARN
    setuid: Annotated[Rule, Key("Programs that got or lost the setuid bit.")] = HOLD
    setgid: Annotated[Rule, Key("Programs and folders that got or lost the setgid bit.")] = HOLD
    capabilities: Annotated[Rule, Key("Programs whose file capabilities changed.")] = HOLD
    world_writable: Annotated[
        FaultRule, Key("Files and folders that everybody may write, but for sticky folders.")
    ] = FAULT_HOLD
    unknown_owners: Annotated[
        FaultRule, Key("Owners and groups that the stage's own passwd and group do not name.")
    ] = FAULT_HOLD
    device_nodes: Annotated[FaultRule, Key("Device nodes other than the usual ones in /dev.")] = (
        FAULT_HOLD
    )
    special_files: Annotated[FaultRule, Key("Named pipes and sockets.")] = FAULT_HOLD
    dangling_links: Annotated[LinkRule, Key("Links to what is not in the stage.")] = LinkRule(
        verdict=Verdict.WARN
    )
    escaping_links: Annotated[FaultRule, Key("Links that climb above the root of the stage.")] = (
        FAULT_HOLD
    )
    missing_libraries: Annotated[
        FaultRule, Key("Shared libraries that programs need and the stage does not have.")
    ] = FaultRule(ignore=DEBUGGING)
    missing_loaders: Annotated[
        FaultRule, Key("Dynamic loaders that programs name and the stage does not have.")
    ] = FaultRule(ignore=DEBUGGING)
    missing_interpreters: Annotated[
        FaultRule, Key("Interpreters of scripts (`#!`) that the stage does not have.")
    ] = FaultRule(verdict=Verdict.WARN, ignore=EXAMPLES)
    unreadable_files: Annotated[
        FaultRule, Key("Programs and settings that checks could not read: damaged, or too large.")
    ] = FaultRule(ignore=EXAMPLES)
    resolv_conf: Annotated[FaultRule, Key("Name servers of the build host.")] = FAULT_WARN
    machine_id: Annotated[FaultRule, Key("A machine ID that all copies would share.")] = FAULT_HOLD
    host_keys: Annotated[FaultRule, Key("SSH host keys.")] = FAULT_HOLD
    private_keys: Annotated[FaultRule, Key("Private keys.")] = FaultRule(ignore=EXAMPLES)
    histories: Annotated[FaultRule, Key("Histories of shells and other programs.")] = FAULT_HOLD
    caches: Annotated[FaultRule, Key("Files that package managers have downloaded.")] = FAULT_WARN
    passwords: Annotated[FaultRule, Key("Accounts with a password.")] = FAULT_HOLD
    build_paths: Annotated[FaultRule, Key("Files that name folders of the build.")] = FAULT_WARN
    stale_bytecode: Annotated[
        FaultRule, Key("Compiled Python files that do not belong to their source.")
    ] = FAULT_WARN
    tests: Annotated[Rule, Key("Tests of the stage that failed, or are required and missing.")] = (
        HOLD
    )


CHECKS = Checks()


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """Other checks for some stages. What it does not name is as in `checks` of the file."""

    product: Annotated[str, Key("The product of the stages, or a pattern.")] = "*"
    variant: Annotated[str, Key("Their variant, or a pattern.")] = "*"
    arch: Annotated[str, Key("Their architecture, or a pattern.")] = "*"
    subarch: Annotated[str, Key("Their sub-architecture, or a pattern.")] = "*"
    checks: Annotated[Checks, Key("What is different for them.")] = CHECKS


@dataclass(frozen=True, slots=True, kw_only=True)
class Gatefile:
    """The policy of a gate. An empty file has the default checks."""

    checks: Annotated[Checks, Key("The checks; those that are left out have their defaults.")] = (
        CHECKS
    )
    overrides: Annotated[
        tuple[Override, ...], Key("Other checks for some stages; the first that matches counts.")
    ] = ()
    learn_from: Annotated[
        Count, Key("How many of the last published stages size limits are learned from.")
    ] = LEARN_FROM
    require_tests: Annotated[
        tuple[str, ...], Key("Tests that have to be run and passed, not skipped.")
    ] = ()
    notify: Annotated[
        tuple[str, ...], Key("URLs of Apprise that are told of holds, such as `mailto://...`.")
    ] = ()
    notify_file: Annotated[
        str,
        Key("A file with more such URLs, one a line, as they have secrets.", relative_to=GATE),
    ] = ""
    hold_reminder: Annotated[Seconds, Key("When a hold is told again; 0: never.")] = WEEK

    def checks_for(
        self, *, product: str, variant: str = "", arch: str = "", subarch: str = ""
    ) -> Checks:
        """The checks of one stage."""
        stage = (product, variant, arch, subarch)
        for item in self.overrides:
            patterns = (item.product, item.variant, item.arch, item.subarch)
            if all(map(fnmatchcase, stage, patterns)):
                return item.checks
        return self.checks


def load_gate(file: Path) -> Document[Gatefile]:
    """The gate file at `file`; `BadInput` if it cannot be read, `SpecProblems` with all problems
    in it."""
    document = read_document(read_text(file, "gate file"), str(file), Gatefile)
    document = replace(document, value=_with_overrides(document))
    if problems := tuple(sorted(_problems(document))):
        raise SpecProblems(problems)
    return document


def _with_overrides(document: Document[Gatefile]) -> Gatefile:
    """The policy with the checks of each override laid over those of the file."""
    value = document.value
    overrides = tuple(
        replace(item, checks=read_over(document, f"overrides[{number}].checks", value.checks))
        for number, item in enumerate(value.overrides)
    )
    return replace(value, overrides=overrides)


def _problems(document: Document[Gatefile]) -> Iterator[Problem]:
    value = document.value
    yield from _of_checks(document, "checks", value.checks)
    for number, item in enumerate(value.overrides):
        path = f"overrides[{number}]"
        yield from _of_checks(document, f"{path}.checks", item.checks)
        if f"{path}.checks" not in document.places:
            yield document.problem(path, "`checks` is missing", "name what is different")
    for number, text in enumerate(value.require_tests):
        if text in value.require_tests[:number]:
            yield document.problem(f"require_tests[{number}]", f"{text} is there twice")
    for number, url in enumerate(value.notify):  # which are not repeated: they have secrets
        path, hint = f"notify[{number}]", "such as mailto://user:password@example.org"
        if url in value.notify[:number]:
            yield document.problem(path, "this URL is there twice")
        if "://" not in url:
            yield document.problem(path, "this is not a URL of Apprise", hint)


def _of_checks(document: Document[Gatefile], path: str, checks: Checks) -> Iterator[Problem]:
    for item in fields(checks):
        rule: Any = getattr(checks, item.name)
        if f"{path}.{item.name}" not in document.places or not isinstance(rule, SizeRule):
            continue
        if rule.most and rule.least > rule.most:
            yield document.problem(f"{path}.{item.name}.least", "`least` is larger than `most`")
        if rule.shrink is not None and rule.shrink > 100:
            hint = "in percent: at most 100"
            yield document.problem(f"{path}.{item.name}.shrink", "nothing shrinks so far", hint)
