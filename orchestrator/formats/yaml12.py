"""YAML as Go's yaml.v3 reads it, with the line and column of every node.

PyYAML's parser (libyaml, from which yaml.v3 was translated) yields the events; this module makes
nodes of them. It differs from PyYAML's own loader: scalars follow YAML 1.2's core schema with
yaml.v3's additions (`resolve.go`), merge keys are resolved as in `decode.go`, a duplicate key is
an error, and the expansion of aliases is limited.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn

import yaml

from orchestrator.formats.scalars import LONG_TAG, Value, scalar_value
from tasks.errors import Problem, SpecProblems

WEIGHT_MAX = 250_000
DEPTH_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node of a document. `weight` and `depth` are of the tree with its aliases expanded."""

    line: int
    column: int
    weight: int = field(default=1, repr=False, compare=False)
    depth: int = field(default=1, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scalar(Node):
    """`text` is the text of the file (decoded, if `!!binary`); `style` is one of `` (plain), `'`,
    `"`, `|` and `>`."""

    value: Value
    text: str
    style: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequence(Node):
    items: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping(Node):
    """Its own entries in the order of the file, then those from merge keys."""

    entries: tuple[tuple[Scalar, Node], ...] = ()


class Parsed(NamedTuple):
    """A file's first document. `more` is the line where a second one begins, 0 if there is none:
    as in Go, only the first is read."""

    root: Node
    more: int = 0


def load(text: str, file: str) -> Node:
    """The first document of `text`; `SpecProblems` names `file`, line and column."""
    return parse(text, file).root


def parse(text: str, file: str) -> Parsed:
    """The first document of `text`, and the line of a second one."""
    loader: Any = None
    composer = _Composer(file)
    try:
        loader = _LOADER(text)
        parsed = composer.document(loader)
    except yaml.YAMLError as error:
        composer.problems.append(_syntax_problem(error, text, file))
    except UnicodeEncodeError as error:
        place = _place(text, error.start)
        composer.problems.append(Problem(file, *place, "", "this character cannot be encoded"))
    except _Refused as refused:
        composer.problems.append(refused.problem)
    finally:
        if loader is not None:
            loader.dispose()
    if composer.problems:
        raise SpecProblems(tuple(composer.problems))
    return parsed


def plain(node: Node) -> Any:
    """`node` as untyped values: None, bool, int, float, str, datetime, list, dict."""
    if isinstance(node, Mapping):
        return {key.value: plain(value) for key, value in node.entries}
    if isinstance(node, Sequence):
        return [plain(item) for item in node.items]
    assert isinstance(node, Scalar)
    return node.value


# --- Composing -----------------------------------------------------------------------------------

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_QUOTE_HINT = "quote a value that starts with {{"
_MERGE_WANTS = "a merge key needs a mapping or a list of mappings"


class _Refused(Exception):
    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.problem = problem


class _Composer:
    """Makes nodes of events. Problems that do not stop it are collected in `problems`."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.anchors: dict[str, Node | None] = {}  # None while the anchored node is being read
        self.depth = 0

    def document(self, loader: Any) -> Parsed:
        self.next = loader.get_event
        self.next()
        if isinstance(self.next(), yaml.StreamEndEvent):
            return Parsed(Scalar(value=None, text="", line=1, column=1))
        root = self.node(self.next())
        self.next()
        return Parsed(root, _second_document(loader))

    def node(self, event: Any) -> Node:
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event)
        if event.anchor:
            self.anchors[event.anchor] = None
        node = self.content(event)
        if event.anchor:
            self.anchors[event.anchor] = node
        return node

    def content(self, event: Any) -> Node:
        if isinstance(event, yaml.ScalarEvent):
            return self.scalar(event)
        self.depth += 1
        if self.depth > DEPTH_MAX:
            self.refuse(event, f"nested deeper than {DEPTH_MAX} levels")
        is_mapping = isinstance(event, yaml.MappingStartEvent)
        node = self.mapping(event) if is_mapping else self.sequence(event)
        self.depth -= 1
        return node

    def alias(self, event: Any) -> Node:
        if event.anchor not in self.anchors:
            self.refuse(event, f"unknown anchor {event.anchor!r}", "define it above with &")
        node = self.anchors[event.anchor]
        if node is None:
            self.refuse(event, f"anchor {event.anchor!r} contains itself")
        if self.depth + node.depth > DEPTH_MAX:
            self.refuse(event, f"nested deeper than {DEPTH_MAX} levels by its aliases")
        return node

    def scalar(self, event: Any) -> Scalar:
        style = event.style or ""
        try:
            value, text = scalar_value(event.tag, event.value, style)
        except ValueError as error:
            self.problems.append(self.problem(event, str(error)))
            value, text = None, event.value
        return Scalar(value=value, text=text, style=style, **_mark(event))

    def sequence(self, start: Any) -> Sequence:
        items = []
        while not isinstance(event := self.next(), yaml.SequenceEndEvent):
            items.append(self.node(event))
        return Sequence(items=tuple(items), **_mark(start), **self.extent(start, items))

    def mapping(self, start: Any) -> Mapping:
        own: dict[str, tuple[Scalar, Node]] = {}
        merged: list[Mapping] = []
        seen: dict[str, Scalar] = {}
        while not isinstance(event := self.next(), yaml.MappingEndEvent):
            key = self.key(event)
            if key.text in seen:
                self.duplicate(key, seen[key.text])
            seen.setdefault(key.text, key)
            value_event = self.next()
            value = self.node(value_event)
            if _is_merge(event):
                merged += self.merge(value_event, value)
            else:
                own.setdefault(key.text, (key, value))
        entries = tuple(_with_merged(own, merged).values())
        values = [value for _, value in entries]
        return Mapping(entries=entries, **_mark(start), **self.extent(start, values))

    def key(self, event: Any) -> Scalar:
        key = self.node(event)
        if not isinstance(key, Scalar):
            kind = "mapping" if isinstance(key, Mapping) else "list"
            self.refuse(event, f"a {kind} cannot be a key", _QUOTE_HINT)
        return key

    def duplicate(self, key: Scalar, first: Scalar) -> None:
        message = f"duplicate key {key.text!r}: first in line {first.line}"
        self.problems.append(Problem(self.file, key.line, key.column, "", message))

    def merge(self, event: Any, node: Node) -> list[Mapping]:
        """The mappings that `<<: node` merges, in the order of precedence."""
        if isinstance(node, Mapping):
            return [node]
        if not isinstance(node, Sequence) or isinstance(event, yaml.AliasEvent):
            self.refuse(event, _MERGE_WANTS)
        mappings = [item for item in node.items if isinstance(item, Mapping)]
        if len(mappings) < len(node.items):
            self.refuse(event, _MERGE_WANTS)
        return mappings

    def extent(self, event: Any, children: list[Node]) -> dict[str, int]:
        weight = 1 + sum(child.weight for child in children)
        if weight > WEIGHT_MAX:
            self.refuse(event, f"more than {WEIGHT_MAX} values with its aliases expanded")
        return {"weight": weight, "depth": 1 + max((child.depth for child in children), default=0)}

    def refuse(self, event: Any, message: str, hint: str = "") -> NoReturn:
        raise _Refused(self.problem(event, message, hint))

    def problem(self, event: Any, message: str, hint: str = "") -> Problem:
        mark = event.start_mark
        return Problem(self.file, mark.line + 1, mark.column + 1, "", message, hint)


def _mark(event: Any) -> dict[str, int]:
    return {"line": event.start_mark.line + 1, "column": event.start_mark.column + 1}


def _is_merge(event: Any) -> bool:
    return (
        isinstance(event, yaml.ScalarEvent)
        and event.value == "<<"
        and ((event.tag in (None, "!") and not event.style) or event.tag == LONG_TAG + "merge")
    )


def _with_merged(
    own: dict[str, tuple[Scalar, Node]], merged: list[Mapping]
) -> dict[str, tuple[Scalar, Node]]:
    """Explicit keys override merged ones, earlier merged mappings override later ones."""
    for mapping in merged:
        for key, value in mapping.entries:
            own.setdefault(key.text, (key, value))
    return own


def _second_document(loader: Any) -> int:
    try:
        event = loader.get_event()
    except yaml.YAMLError:
        return 0
    return _mark(event)["line"] if isinstance(event, yaml.DocumentStartEvent) else 0


# --- Syntax errors, with hints -------------------------------------------------------------------

_HINTS = (
    ("mapping values are not allowed", "quote a value that contains ': '"),
    ("cannot start any token", "indent with spaces, not tabs; quote a value that starts like this"),
    ("did not find expected key", "check the indentation, and that quotes are closed"),
    ("did not find expected '-'", "the items of one list start in the same column"),
    ("did not find expected ',' or", _QUOTE_HINT + ", [ or {"),
    ("could not find expected ':'", "a key is followed by a colon and a space"),
    ("did not find expected alphabetic", "quote a value that starts with * or &"),
    ("unexpected end of stream", "a quote is not closed"),
)


def _syntax_problem(error: Any, text: str, file: str) -> Problem:
    if isinstance(error, yaml.MarkedYAMLError):
        mark: Any = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        message = ", ".join(part for part in (error.context, error.problem) if part)
        hint = next((hint for words, hint in _HINTS if words in message), "")
        return Problem(file, line, column, "", f"not valid YAML: {message}", hint)
    bad = yaml.reader.Reader.NON_PRINTABLE.search(text)
    line, column = _place(text, bad.start()) if bad else (0, 0)
    return Problem(file, line, column, "", "control characters are not allowed in YAML")


def _place(text: str, index: int) -> tuple[int, int]:
    return text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index)
