"""Turns YAML nodes into frozen dataclasses, and reports every problem of a file at once.

A file format is a dataclass whose fields are named like the keys: the types are those of the
values, `Annotated[..., Key(...)]` describes each key (the schema is generated from it). Where a
field's default is a dataclass too, keys that are left out have the values of that default. Scalars
are converted as by Go's decoder: a number where text is expected becomes its text, null leaves
the default.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass
from difflib import get_close_matches
from enum import StrEnum
from functools import cache
from pathlib import Path
from types import UnionType
from typing import (
    Annotated,
    Any,
    Generic,
    NewType,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from orchestrator.formats import yaml12
from orchestrator.formats.yaml12 import Node, Scalar, Sequence, plain
from tasks.errors import BadInput, Problem, SpecProblems

T = TypeVar("T")

Seconds = NewType("Seconds", float)
"""A duration: `90m`, `2h30m`, or a number of seconds."""

Count = NewType("Count", int)
"""A whole number, 0 or more."""

Size = NewType("Size", int)
"""A size in bytes: `8G`, `512M`, or a number of bytes; units are powers of 1,024."""

Share = NewType("Share", float)
"""A part of a whole: `2%` is 0.02. It may be more than the whole."""

FILE_MAX_BYTES = 16 * 1024 * 1024
"""No file of this kind is larger; one that is was given by mistake."""

BYTES_OF = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
SECONDS_OF = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_SECONDS = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?[dhms])+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Key:
    """The description of a key. `rendered`: its value is a template; `relative_to`: the folder that
    a relative path in it starts from."""

    doc: str
    rendered: bool = False
    relative_to: str = ""


@dataclass(frozen=True, slots=True)
class FieldInfo:
    """One key of a dataclass: `kind` is its bare type; `default` is MISSING if it is required."""

    name: str
    kind: Any
    key: Key
    default: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Document(Generic[T]):
    """A file that was read: its value, and the node of each part of it."""

    file: str
    value: T
    places: Mapping[str, Node]
    warnings: tuple[Problem, ...] = ()

    def problem(self, path: str, message: str, hint: str = "") -> Problem:
        """A problem at `path`, located at its nearest enclosing node."""
        return problem_at(self.file, nearest(self.places, path), path, message, hint)


def nearest(places: Mapping[str, Node], path: str) -> Node | None:
    """The node at `path`, else the nearest one that encloses it."""
    while path and path not in places:
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return places.get(path)


def problem_at(file: str, node: Node | None, path: str, message: str, hint: str = "") -> Problem:
    line, column = (node.line, node.column) if node else (0, 0)
    return Problem(file, line, column, path, message, hint)


def read_text(file: Path, what: str) -> str:
    """The text of `file`, which should be a `what`; `BadInput` if it cannot be read."""
    try:
        with file.open("rb") as opened:
            data = opened.read(FILE_MAX_BYTES + 1)
        if len(data) > FILE_MAX_BYTES:
            raise BadInput(f"{file}: too large for a {what}", "is it the right file?")
        return data.decode("utf-8-sig")
    except FileNotFoundError:
        raise BadInput(f"{file}: no such {what}", _siblings_hint(file)) from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        problem = Problem(str(file), line, 0, "", "not UTF-8 text", f"expected a {what} in YAML")
        raise SpecProblems((problem,)) from error
    except OSError as error:
        raise BadInput(f"{file}: cannot read this {what}: {error.strerror}") from error


def _siblings_hint(file: Path) -> str:
    try:
        names = [entry.name for entry in file.parent.iterdir()]
    except OSError:
        return f"the folder {file.parent} does not exist either"
    return did_you_mean(file.name, names, f"looked for it in {file.parent.absolute()}")


def did_you_mean(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """A hint with the most similar of `known`, or `otherwise`."""
    close = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean `{close[0]}`?" if close else otherwise


def read_document(text: str, file: str, kind: type[T]) -> Document[T]:
    """`text` as a `kind`; `SpecProblems` has every problem in it."""
    parsed = yaml12.parse(text, file)
    reader = Reader(file)
    value = reader.read(parsed.root, kind, "")
    if parsed.more:
        message = "a second document begins here; only the first is read"
        reader.warnings.append(Problem(file, parsed.more, 1, "", message))
    if value is MISSING and not reader.problems:
        value = reader.read(yaml12.Mapping(line=1, column=1), kind, "")  # an empty file
    if reader.problems:
        raise SpecProblems(tuple(sorted(reader.problems)))
    return Document(file=file, value=value, places=reader.places, warnings=tuple(reader.warnings))


def read_over(document: Document[Any], path: str, base: T) -> T:
    """The mapping at `path` of a file that was read, with the values of `base` for keys that are
    left out; `base` if there is none."""
    node = document.places.get(path)
    if node is None or is_null(node):
        return base
    value = Reader(document.file).read(node, type(base), path, base)
    return base if value is MISSING else cast("T", value)


@cache
def fields_of(kind: type) -> tuple[FieldInfo, ...]:
    """The keys of dataclass `kind`, in the order of its fields."""
    hints = get_type_hints(kind, include_extras=True)
    return tuple(_field_info(item, hints[item.name]) for item in dataclasses.fields(kind))


def _field_info(item: dataclasses.Field[Any], hint: Any) -> FieldInfo:
    key = Key("")
    if get_origin(hint) is Annotated:
        hint, key = get_args(hint)[:2]
    default = item.default_factory() if item.default_factory is not MISSING else item.default
    return FieldInfo(item.name, hint, key, default)


def without_none(kind: Any) -> Any:
    """`X` for `X | None`."""
    return get_args(kind)[0] if get_origin(kind) in (UnionType, Union) else kind


def short_key(kind: type) -> str:
    """The key whose value may stand alone for the whole mapping, if `kind` has one."""
    return str(getattr(kind, "SHORT", ""))


def is_lone(kind: Any) -> bool:
    """Whether a list of one `kind` may be written without being a list."""
    return bool(getattr(kind, "LONE", False))


def is_open(kind: type) -> bool:
    """Whether `kind` allows unknown keys, for anchors."""
    return bool(getattr(kind, "OPEN", False))


class Reader:
    """Reads the nodes of one file. A value that cannot be read is MISSING, and has a problem in
    `problems`."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.places: dict[str, Node] = {}

    def read(self, node: Node, kind: Any, path: str, base: Any = MISSING) -> Any:
        """`node` as a `kind`, or MISSING if it is null or of another kind. A dataclass has the
        values of `base` for keys that are left out."""
        self.places[path] = node
        if kind is Any:
            return plain(node)
        if is_null(node):
            return MISSING
        kind = without_none(kind)
        if get_origin(kind) is tuple:
            return self.read_list(node, get_args(kind)[0], path)
        if get_origin(kind) is dict:
            return self.read_map(node, get_args(kind)[1], path)
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            return self.read_dataclass(node, kind, path, base)
        return self.read_scalar(node, kind, path)

    def read_list(self, node: Node, kind: Any, path: str) -> Any:
        if is_lone(kind) and isinstance(node, yaml12.Mapping):
            return tuple(one for one in [self.read(node, kind, path)] if one is not MISSING)
        if not isinstance(node, Sequence):
            return self.unfit(node, path, "a list", "begin each item with `- `")
        given = [item for item in node.items if kind is Any or not is_null(item)]
        items = [self.read(item, kind, f"{path}[{i}]") for i, item in enumerate(given)]
        return tuple(item for item in items if item is not MISSING)

    def read_map(self, node: Node, kind: Any, path: str) -> Any:
        if not isinstance(node, yaml12.Mapping):
            return self.unfit(node, path, "a mapping", "write `key: value`")
        named = [(key.text, value) for key, value in node.entries if key.value is not None]
        values = {name: self.read(value, kind, _join(path, name)) for name, value in named}
        return {name: value for name, value in values.items() if value is not MISSING}

    def read_dataclass(self, node: Node, kind: type, path: str, base: Any = MISSING) -> Any:
        if isinstance(node, Scalar) and (short := short_key(kind)):
            return self.read_short(node, kind, path, short, base)
        if not isinstance(node, yaml12.Mapping):
            return self.unfit(node, path, "a mapping", "write `key: value`")
        known = {info.name: info for info in fields_of(kind)}
        found = {}
        for key, value in node.entries:
            if not (info := known.get(key.text)):
                self.unknown_key(key, kind, path, {key.text for key, _ in node.entries})
            elif not is_null(value):
                found[key.text] = self.read(
                    value, info.kind, _join(path, key.text), getattr(base, key.text, info.default)
                )
        return self.make(node, kind, path, found, base)

    def read_short(self, node: Scalar, kind: type, path: str, short: str, base: Any) -> Any:
        (wanted,) = (info.kind for info in fields_of(kind) if info.name == short)
        found = self.read_scalar(node, wanted, _join(path, short))
        return self.make(node, kind, path, {short: found}, base)

    def make(
        self, node: Node, kind: type, path: str, found: dict[str, Any], base: Any = MISSING
    ) -> Any:
        given = {name: value for name, value in found.items() if value is not MISSING}
        if isinstance(base, kind):
            return dataclasses.replace(cast("Any", base), **given)
        required = [info for info in fields_of(kind) if info.default is MISSING]
        for info in required:
            if info.name not in found:
                self.add(node, path, f"`{info.name}` is missing", info.key.doc)
        return kind(**given) if all(info.name in given for info in required) else MISSING

    def unknown_key(self, key: Scalar, kind: type, path: str, present: set[str]) -> None:
        names = [info.name for info in fields_of(kind)]
        if not is_open(kind):
            hint = did_you_mean(key.text, names, f"known are: {', '.join(names)}")
            self.add(key, _join(path, key.text), "unknown key", hint)
        elif close := get_close_matches(key.text, set(names) - present, n=1, cutoff=0.75):
            message = f"not a known key; did you mean `{close[0]}`?"
            self.warnings.append(problem_at(self.file, key, key.text, message))

    def read_scalar(self, node: Node, kind: Any, path: str) -> Any:
        wanted, convert = _SCALARS.get(kind) or ("text", _to_text)
        if not isinstance(node, Scalar):
            return self.unfit(node, path, wanted, "")
        if isinstance(kind, type) and issubclass(kind, StrEnum):
            return self.read_choice(node, kind, path)
        value = convert(node)
        if isinstance(value, str) and "\0" in value:
            return self.add(node, path, "paths, commands and variables cannot contain NUL")
        return self.unfit(node, path, wanted, "") if value is None else value

    def read_choice(self, node: Scalar, kind: type[StrEnum], path: str) -> Any:
        choices = [str(item) for item in kind]
        if node.text in choices:
            return kind(node.text)
        message = f"unsupported {_subject(path)} {node.text!r}: use one of {', '.join(choices)}"
        return self.add(node, path, message, did_you_mean(node.text, choices))

    def unfit(self, node: Node, path: str, wanted: str, hint: str) -> Any:
        return self.add(node, path, f"expected {wanted}, found {describe(node)}", hint)

    def add(self, node: Node, path: str, message: str, hint: str = "") -> Any:
        self.problems.append(problem_at(self.file, node, path, message, hint))
        return MISSING


def is_null(node: Node) -> bool:
    """Whether `node` is null: it leaves a default, and is dropped from a list, as in Go."""
    return isinstance(node, Scalar) and node.value is None


def describe(node: Node) -> str:
    """A short description of `node`, for a message."""
    if isinstance(node, Sequence):
        return "a list"
    if isinstance(node, yaml12.Mapping):
        return "a mapping"
    assert isinstance(node, Scalar)
    return f"`{node.text}`" if len(node.text) <= 30 else f"`{node.text[:27]}...`"


def _subject(path: str) -> str:
    """`source type` for `jobs[2].source.type`, `hook type` for `hooks[0].type`."""
    *outer, name = re.findall(r"[a-z_]+", path)
    return " ".join([*(word.removesuffix("s") for word in outer[-1:]), name])


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


# --- Scalars, as Go's decoder converts them ------------------------------------------------------


def _to_text(node: Scalar) -> str:
    return node.text


def _to_bool(node: Scalar) -> bool | None:
    if isinstance(node.value, bool):
        return node.value
    word = (
        node.text if node.text in (node.text.lower(), node.text.title(), node.text.upper()) else ""
    )
    return {"y": True, "yes": True, "on": True, "n": False, "no": False, "off": False}.get(
        word.lower()
    )


def _to_int(node: Scalar) -> int | None:
    value = node.value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _to_count(node: Scalar) -> Count | None:
    number = _to_int(node)
    return Count(number) if number is not None and number >= 0 else None


def _to_size(node: Scalar) -> Size | None:
    found = re.fullmatch(r"([0-9]{1,15})([KMGT]?)", node.text)
    return Size(int(found[1]) * BYTES_OF[found[2]]) if found else None


def _to_seconds(node: Scalar) -> Seconds | None:
    """`90`, `90m` or `2h30m`, in seconds."""
    if isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return Seconds(float(node.value)) if 0 <= node.value < 1e9 else None
    return seconds_of(node.text)


def seconds_of(text: str) -> Seconds | None:
    """`90m` or `2h30m` in seconds; None if it is no duration with units."""
    if not _SECONDS.fullmatch(text):
        return None
    parts = re.findall(r"([0-9.]+)([dhms])", text)
    return Seconds(sum(float(number) * SECONDS_OF[unit] for number, unit in parts))


def _to_share(node: Scalar) -> Share | None:
    found = re.fullmatch(r"([0-9]{1,4}(?:\.[0-9]{1,9})?)%", node.text, re.ASCII)
    return Share(float(found[1]) / 100) if found else None


_SCALARS: dict[Any, tuple[str, Callable[[Scalar], Any]]] = {
    str: ("text", _to_text),
    bool: ("true or false", _to_bool),
    int: ("a whole number", _to_int),
    Count: ("a whole number, 0 or more", _to_count),
    Size: ("a size such as 8G, 512M or a number of bytes", _to_size),
    Share: ("a percentage such as 2% or 0.5%", _to_share),
    Seconds: ("a duration such as 90, 45s, 90m or 2h30m", _to_seconds),
}
