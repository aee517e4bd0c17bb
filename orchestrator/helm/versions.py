"""Semantic versions and constraints on them, by the rules of Masterminds/semver."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, ClassVar

from orchestrator.helm.errors import FunctionError
from orchestrator.helm.values import Opaque, Struct, Uint64

if TYPE_CHECKING:
    from orchestrator.helm.signature import Function

LONGEST_VERSION = 256
LONGEST_CONSTRAINT = 512
MOST_GROUPS = 32
WORDS = r"[0-9A-Za-z\-]+(?:\.[0-9A-Za-z\-]+)*"
VERSION = re.compile(
    rf"v?(?P<major>[0-9]+)(?:\.(?P<minor>[0-9]+))?(?:\.(?P<patch>[0-9]+))?"
    rf"(?:-(?P<pre>{WORDS}))?(?:\+(?P<metadata>{WORDS}))?"
)


@dataclass(frozen=True, slots=True, eq=False)
class Version(Opaque):
    go_type: ClassVar[str] = "*semver.Version"
    kind: ClassVar[str] = "ptr"

    major: int
    minor: int
    patch: int
    pre: str = ""
    metadata: str = ""
    original: str = ""

    @classmethod
    def parse(cls, text: str) -> Version:
        """Parse a version; its minor and patch numbers are optional, and so is a leading `v`."""
        found = VERSION.fullmatch(text) if len(text) <= LONGEST_VERSION else None
        if not found:
            raise FunctionError("invalid semantic version", f'"{text}" is not like 1.2.3')
        numbers = [int(found[name] or 0) for name in ("major", "minor", "patch")]
        if max(numbers) >= 2**64:
            raise FunctionError("error parsing version segment: value out of range")
        pre = found["pre"] or ""
        if any(re.fullmatch(r"0[0-9]+", part) for part in pre.split(".")):
            raise FunctionError("version segment starts with 0")
        return cls(numbers[0], numbers[1], numbers[2], pre, found["metadata"] or "", text)

    def __str__(self) -> str:
        pre = f"-{self.pre}" if self.pre else ""
        metadata = f"+{self.metadata}" if self.metadata else ""
        return f"{self.major}.{self.minor}.{self.patch}{pre}{metadata}"

    @property
    def release(self) -> tuple[int, int, int]:
        return self.major, self.minor, self.patch

    def compare(self, other: Version) -> int:
        """-1, 0 or 1; the metadata is ignored."""
        if self.release != other.release:
            return 1 if self.release > other.release else -1
        if self.pre == other.pre or not (self.pre and other.pre):
            return bool(other.pre) - bool(self.pre)
        return compare_pre(self.pre, other.pre)

    def moved(self, major: int, minor: int, patch: int) -> Version:
        """Another release, with its text."""
        return self.with_parts(major=major, minor=minor, patch=patch, pre="", metadata="")

    def with_parts(self, **parts: object) -> Version:
        fields = asdict(self) | parts
        v = "v" if self.original.startswith("v") else ""
        return VersionValue(**fields | {"original": f"{v}{VersionValue(**fields)}"})

    def inside(self) -> object:
        numbers = {name: Uint64(getattr(self, name)) for name in ("major", "minor", "patch")}
        texts = {name: getattr(self, name) for name in ("pre", "metadata", "original")}
        return Struct(self.go_type, numbers | texts)

    def methods(self) -> Mapping[str, Function]:
        return METHODS


class VersionValue(Version):
    """The result of a method: not a pointer, so it lacks the methods of pointers."""

    go_type = "semver.Version"
    kind = "struct"

    def methods(self) -> Mapping[str, Function]:
        return {name: METHODS[name] for name in VALUE_METHODS}


def compare_pre(one: str, other: str) -> int:
    """Compare part by part; numbers sort before words, fewer parts before more."""
    mine, its = one.split("."), other.split(".")
    for index in range(max(len(mine), len(its))):
        left = mine[index] if index < len(mine) else ""
        right = its[index] if index < len(its) else ""
        if left != right:
            return compare_part(left, right)
    return 0


def compare_part(one: str, other: str) -> int:
    if not one or not other:
        return 1 if one else -1
    numbers = [part.isdigit() and int(part) < 2**64 for part in (one, other)]
    if all(numbers):
        return 1 if int(one) > int(other) else -1
    if any(numbers):
        return -1 if numbers[0] else 1
    return 1 if one > other else -1


def set_pre(it: Version, text: str) -> Version:
    return it.with_parts(pre=checked(text, "prerelease"))


def set_metadata(it: Version, text: str) -> Version:
    return it.with_parts(metadata=checked(text, "metadata"))


def checked(text: str, name: str) -> str:
    if text and not re.fullmatch(WORDS, text):
        raise FunctionError(f"invalid {name} string")
    return text


def compare(it: Version, other: Version) -> int:
    return it.compare(other)


def equal(it: Version, other: Version) -> bool:
    return it.compare(other) == 0


def less(it: Version, other: Version) -> bool:
    return it.compare(other) < 0


def less_equal(it: Version, other: Version) -> bool:
    return it.compare(other) <= 0


def greater(it: Version, other: Version) -> bool:
    return it.compare(other) > 0


def greater_equal(it: Version, other: Version) -> bool:
    return it.compare(other) >= 0


def inc_patch(it: Version) -> Version:
    return it.moved(it.major, it.minor, it.patch + (not it.pre))


def string(it: Version) -> str:
    return str(it)


METHODS: Mapping[str, Function] = {
    "Compare": compare,
    "Equal": equal,
    "GreaterThan": greater,
    "GreaterThanEqual": greater_equal,
    "IncMajor": lambda it: it.moved(it.major + 1, 0, 0),
    "IncMinor": lambda it: it.moved(it.major, it.minor + 1, 0),
    "IncPatch": inc_patch,
    "LessThan": less,
    "LessThanEqual": less_equal,
    "Major": lambda it: Uint64(it.major),
    "Metadata": lambda it: it.metadata,
    "Minor": lambda it: Uint64(it.minor),
    "Original": lambda it: it.original,
    "Patch": lambda it: Uint64(it.patch),
    "Prerelease": lambda it: it.pre,
    "SetMetadata": set_metadata,
    "SetPrerelease": set_pre,
    "String": string,
}

VALUE_METHODS = (
    "IncMajor",
    "IncMinor",
    "IncPatch",
    "Major",
    "Metadata",
    "Minor",
    "Patch",
    "Prerelease",
    "SetMetadata",
    "SetPrerelease",
    "String",
)


# Constraints: groups joined by `||`, each of parts that must all match.

NUMBER = r"[0-9|xX\*]+"
PATTERN = rf"v?(?:{NUMBER})(?:\.{NUMBER})?(?:\.{NUMBER})?(?:-{WORDS})?(?:\+{WORDS})?"
OPERATORS = r"=||!=|>|<|>=|=>|<=|=<|~|~>|\^"
PART = re.compile(
    rf"\s*(?P<operator>{OPERATORS})\s*(?P<version>v?(?P<major>{NUMBER})(?P<minor>\.{NUMBER})?"
    rf"(?P<patch>\.{NUMBER})?(?P<pre>-{WORDS})?(?:\+{WORDS})?)\s*"
)
ANY_PART = re.compile(rf"(?:{OPERATORS})\s*(?:{PATTERN})")
GROUP = re.compile(
    rf"(?:\s*(?:{OPERATORS})\s*(?:{PATTERN})\s*)"
    rf"(?:(?:\s+|,\s*)(?:{OPERATORS})\s*(?:{PATTERN})\s*)*"
)
RANGE = re.compile(rf"\s*(?P<low>{PATTERN})\s+-\s+(?P<high>{PATTERN})\s*")


@dataclass(frozen=True, slots=True)
class Constraint:
    """One part. Numbers that are omitted, or `x`, are marked by `open_minor` and so on."""

    operator: str
    version: Version
    is_open: bool
    open_minor: bool
    open_patch: bool


def satisfies(version: Version, constraints: str) -> bool:
    """Whether `version` matches a group; a prerelease only does if the group has one, too."""
    if len(constraints) > LONGEST_CONSTRAINT:
        raise FunctionError(f"constraint string is too long (max {LONGEST_CONSTRAINT} bytes)")
    groups = RANGE.sub(r">= \g<low>, <= \g<high> ", constraints).split("||")
    if len(groups) > MOST_GROUPS:
        raise FunctionError(f"too many constraint groups (max {MOST_GROUPS})")
    parsed = [parse_group(group) for group in groups]
    return any(group_holds(version, parts) for parts in parsed)


def group_holds(version: Version, parts: list[Constraint]) -> bool:
    if version.pre and not any(part.version.pre for part in parts):
        return False
    return all(CHECKS[part.operator](version, part) for part in parts)


def parse_group(text: str) -> list[Constraint]:
    if not GROUP.fullmatch(text):
        raise FunctionError(f'improper constraint: "{text}"', "one looks like >=1.2 <2 or ^1.4")
    return [parse_part(part) for part in ANY_PART.findall(text)]


def parse_part(text: str) -> Constraint:
    found = PART.fullmatch(text)
    if not found:
        raise FunctionError(f'improper constraint: "{text}"')
    major, minor, patch = (is_open(found[name]) for name in ("major", "minor", "patch"))
    numbers = "0.0.0"
    if not major:
        numbers = found["major"]
        numbers += ".0.0" if minor else found["minor"] + (".0" if patch else found["patch"])
    try:
        version = Version.parse(numbers + (found["pre"] or ""))
    except FunctionError as error:
        raise FunctionError("constraint parser error") from error
    is_minor = minor and not major
    is_patch = patch and not minor and not major
    return Constraint(found["operator"], version, major or minor or patch, is_minor, is_patch)


def is_open(text: str | None) -> bool:
    return text is None or text.removeprefix(".") in ("x", "X", "*")


def tilde_or_equal(version: Version, part: Constraint) -> bool:
    return tilde(version, part) if part.is_open else version.compare(part.version) == 0


def not_equal(version: Version, part: Constraint) -> bool:
    wanted = part.version
    if not part.is_open:
        return version.compare(wanted) != 0
    if version.major != wanted.major:
        return True
    if part.open_minor:
        return False
    if version.minor != wanted.minor:
        return True
    if part.open_patch:
        return bool(version.pre or wanted.pre) and version.pre != wanted.pre
    return version.patch != wanted.patch or version.compare(wanted) != 0


def greater_than(version: Version, part: Constraint) -> bool:
    wanted = part.version
    if not part.is_open:
        return version.compare(wanted) > 0
    if version.major != wanted.major:
        return version.major > wanted.major
    if part.open_minor:
        return False
    if part.open_patch:
        return version.minor > wanted.minor
    return version.compare(wanted) > 0


def at_most(version: Version, part: Constraint) -> bool:
    wanted = part.version
    if not part.is_open:
        return version.compare(wanted) <= 0
    if version.major != wanted.major:
        return version.major < wanted.major
    return version.minor <= wanted.minor or part.open_minor


def tilde(version: Version, part: Constraint) -> bool:
    wanted = part.version
    if version.compare(wanted) < 0:
        return False
    if wanted.release == (0, 0, 0) and not (part.open_minor or part.open_patch):
        return True
    same_minor = version.minor == wanted.minor or part.open_minor
    return version.major == wanted.major and same_minor


def caret(version: Version, part: Constraint) -> bool:
    wanted = part.version
    if version.compare(wanted) < 0:
        return False
    if wanted.major > 0 or part.open_minor or version.major > 0:
        return version.major == wanted.major and (wanted.major > 0 or part.open_minor)
    if wanted.minor > 0 or part.open_patch or version.minor > 0:
        return version.minor == wanted.minor and (wanted.minor > 0 or part.open_patch)
    return version.patch == wanted.patch


def at_least(version: Version, part: Constraint) -> bool:
    return version.compare(part.version) >= 0


def less_than(version: Version, part: Constraint) -> bool:
    return version.compare(part.version) < 0


CHECKS: Mapping[str, Callable[[Version, Constraint], bool]] = {
    "": tilde_or_equal,
    "=": tilde_or_equal,
    "!=": not_equal,
    ">": greater_than,
    "<": less_than,
    ">=": at_least,
    "=>": at_least,
    "<=": at_most,
    "=<": at_most,
    "~": tilde,
    "~>": tilde,
    "^": caret,
}
