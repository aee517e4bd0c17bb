"""Rules: TOML files that say which lines of a log are a cause, and which say where it was.

    [[rule]]                      a line that says what went wrong
    name = "gcc-error"            unique; one of the same name in your own folder replaces it
    kind = "compile"
    order = 30                    the lowest of all that match wins
    match = '...(?P<message>...)' RE2; groups: message, package, phase, unit
    example = ['a.c:1:2: error: x']   lines that it has to match

    [[place]]                     a line that says which package was built, in which phase
    name = "portage-emerging"
    match = '...(?P<package>...)'
    example = [...]

Every example is matched when a file is read, so that a rule that cannot work is refused.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import msgspec
import re2  # type: ignore[import-untyped]
from msgspec import Meta

from tasks.errors import BadInput

Name = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9-]{0,62}$")]
Examples = Annotated[tuple[str, ...], Meta(min_length=1)]

GROUPS = frozenset({"message", "package", "phase", "unit"})
FILE_MAX_BYTES = 1024 * 1024
RULES_MAX = 2_000
MEMORY_BYTES = 64 * 1024 * 1024


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What went wrong. The message is the group `message`, else the whole line; with `next_line`
    it is the next line that is not blank,
    without portage's asterisk; with `says` it is that text. `unit` is what the line is
    about, such as a source file: of several, only the first line of each counts. `shared`: the
    fault is not of a package, and its fingerprint has none."""

    name: Name
    kind: Name
    match: str
    example: Examples
    order: Annotated[int, Meta(ge=0, le=100)] = 50
    phase: str = ""
    says: str = ""
    next_line: bool = False
    shared: bool = False


class Place(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the log is. `follows`: the line is printed after the fault, else it comes before.
    `ends`: what was built has ended well."""

    name: Name
    match: str
    example: Examples
    phase: str = ""
    follows: bool = False
    ends: bool = False


class RuleFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rule: tuple[Rule, ...] = ()
    place: tuple[Place, ...] = ()


@dataclass(frozen=True)
class RuleSet:
    """Rules and places, ready to be matched: all at once, in a time linear in the text."""

    rules: tuple[Rule, ...]
    places: tuple[Place, ...]

    @cached_property
    def all(self) -> tuple[Rule | Place, ...]:
        return (*self.rules, *self.places)

    @cached_property
    def patterns(self) -> tuple[Any, ...]:
        return tuple(_compiled(each) for each in self.all)

    @cached_property
    def _set(self) -> Any:
        found = re2.Set.SearchSet(_options())
        for each in self.all:
            found.Add(each.match)
        found.Compile()
        return found

    def matching(self, text: str) -> list[int]:
        """The positions in `all` of what matches `text`."""
        return list(self._set.Match(text) or ())

    def groups(self, position: int, text: str) -> dict[str, str]:
        """The named groups of a match that `matching` found, without empty ones."""
        found = self.patterns[position].search(text)
        return {name: part for name, part in found.groupdict().items() if part}


def load_rules(folder: str = "") -> RuleSet:
    """The shipped rules, and those of the `*.toml` files in `folder`; `BadInput` with the file and
    the rule for one that cannot be used."""
    shipped = sorted(
        (file for file in resources.files(__package__).joinpath("rules").iterdir()),
        key=lambda file: file.name,
    )
    texts = [(file.name, file.read_text()) for file in shipped if file.name.endswith(".toml")]
    files = [_parse(name, text) for name, text in [*texts, *_own(folder)]]
    rules = _by_name(chain.from_iterable(file.rule for file in files))
    places = _by_name(chain.from_iterable(file.place for file in files))
    if len(rules) + len(places) > RULES_MAX:
        raise BadInput(f"more than {RULES_MAX} rules", "remove some")
    return RuleSet(tuple(rules), tuple(places))


def usable_rules(folder: str, complain: Callable[[str], None]) -> RuleSet:
    """The same, for those who must go on: where the folder cannot be used, the shipped rules."""
    try:
        return load_rules(folder)
    except BadInput as error:
        complain(f"{error}; only the shipped rules are used")
        return load_rules()


def _by_name(found: Iterable[Any]) -> Sequence[Any]:
    """Each name once: the last one counts, in the place of the first."""
    return list({each.name: each for each in found}.values())


def _own(folder: str) -> list[tuple[str, str]]:
    if not folder:
        return []
    try:
        files = sorted(Path(folder).iterdir())
        found = [file for file in files if file.suffix == ".toml"]
        return [(str(file), _text(file)) for file in found]
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"cannot read the rules in {folder}: {error}") from error


def _text(file: Path) -> str:
    with file.open("rb") as opened:
        data = opened.read(FILE_MAX_BYTES + 1)
    if len(data) > FILE_MAX_BYTES:
        raise BadInput(f"{file}: larger than {FILE_MAX_BYTES} bytes")
    return data.decode()


def _parse(file: str, text: str) -> RuleFile:
    try:
        parsed = msgspec.convert(tomllib.loads(text), RuleFile)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise BadInput(f"{file}: {error}", "docs/causes.md has the form of rules") from error
    for rule in parsed.rule:
        _check(file, rule)
    for place in parsed.place:
        _check(file, place)
    return parsed


def _check(file: str, each: Rule | Place) -> None:
    """Refuse a pattern that RE2 does not take, or that does not match its examples."""
    try:
        pattern = _compiled(each)
    except re2.error as error:
        why = error.args[0] if error.args else error
        why = why.decode(errors="replace") if isinstance(why, bytes) else why
        raise BadInput(
            f"{file}: {each.name}: {why}", "patterns are RE2's: no look-around, no references"
        ) from error
    if unknown := set(pattern.groupindex) - GROUPS:
        known = ", ".join(sorted(GROUPS))
        raise BadInput(f"{file}: {each.name}: unknown group {min(unknown)!r}", f"known: {known}")
    for example in each.example:
        if not pattern.search(example):
            raise BadInput(f"{file}: {each.name} does not match its example {example!r}")


def _compiled(each: Rule | Place) -> Any:
    return re2.compile(each.match, _options())


def _options() -> Any:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MEMORY_BYTES
    return options
