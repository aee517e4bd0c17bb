"""YAML as sigs.k8s.io/yaml reads it: yaml.v2's rules, then JSON's types, so numbers are floats."""

from __future__ import annotations

import base64
import binascii
import math
from typing import Any, NoReturn

from orchestrator.helm.quoting import format_float
from orchestrator.helm.yamlscalars import resolve

MAX_DEPTH = 200
MAX_NODES = 100_000
TAG = "tag:yaml.org,2002:"


class NotYaml(Exception):
    """`NotYaml(message)`: the text is not YAML, or has no JSON form."""


def decode(text: str) -> object:
    """The first document of `text` with JSON's types; None if there is none."""
    import yaml

    loader_type: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    loader: Any = None
    try:
        loader = loader_type(text)
        return jsonable(Reader(loader).document())
    except yaml.YAMLError as error:
        raise NotYaml(f"yaml: {first_line(error)}") from error
    except UnicodeEncodeError as error:
        raise NotYaml("yaml: invalid Unicode character") from error
    finally:
        if loader is not None:
            loader.dispose()


def first_line(error: Any) -> str:
    """The message of yaml.v2: lines count from 0 in a parser's error and from 1 in a scanner's."""
    from yaml.scanner import ScannerError

    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).split("\n", maxsplit=1)[0]
    if not mark or not mark.line:
        return str(problem)
    return f"line {mark.line + isinstance(error, ScannerError)}: {problem}"


class Reader:
    """Makes values of the parser's events."""

    def __init__(self, loader: Any) -> None:
        self.next = loader.get_event
        self.anchors: dict[str, object] = {}
        self.depth = 0
        self.count = 0

    def document(self) -> object:
        from yaml import StreamEndEvent

        self.next()
        if isinstance(self.next(), StreamEndEvent):
            return None
        return self.node(self.next())

    def node(self, event: Any) -> object:
        from yaml import AliasEvent, ScalarEvent

        self.count += 1
        if isinstance(event, AliasEvent):
            if event.anchor not in self.anchors:
                refuse(event, f"unknown anchor '{event.anchor}' referenced")
            return self.anchors[event.anchor]
        if isinstance(event, ScalarEvent):
            value: object = scalar(event)
        else:
            value = self.collection(event)
        if event.anchor:
            self.anchors[event.anchor] = value
        return value

    def collection(self, event: Any) -> object:
        from yaml import MappingStartEvent

        self.depth += 1
        if self.depth > MAX_DEPTH:
            refuse(event, f"exceeded max depth of {MAX_DEPTH}")
        is_mapping = isinstance(event, MappingStartEvent)
        value: object = self.mapping() if is_mapping else self.sequence()
        self.depth -= 1
        return value

    def sequence(self) -> list[object]:
        from yaml import SequenceEndEvent

        items: list[object] = []
        while not isinstance(event := self.next(), SequenceEndEvent):
            items.append(self.node(event))
        return items

    def mapping(self) -> dict[object, object]:
        from yaml import MappingEndEvent

        mapping: dict[object, object] = {}
        while not isinstance(event := self.next(), MappingEndEvent):
            key = self.node(event)
            value = self.node(self.next())
            if is_merge(event):
                merge(mapping, value)
            else:
                mapping[key_text(event, key)] = value
        return mapping


def refuse(event: Any, message: str) -> NoReturn:
    raise NotYaml(f"yaml: line {event.start_mark.line + 1}: {message}")


def is_merge(event: Any) -> bool:
    plain = event.tag in (None, "!") and not getattr(event, "style", "x")
    return getattr(event, "value", None) == "<<" and (plain or event.tag == TAG + "merge")


def merge(mapping: dict[object, object], value: object) -> None:
    """Of several merged maps the first wins, and all override the keys before them."""
    for part in reversed(value) if isinstance(value, list) else [value]:
        if not isinstance(part, dict):
            raise NotYaml("yaml: map merge requires map or sequence of maps as the value")
        mapping.update(part)


def key_text(event: Any, key: object) -> str:
    """The key as text, as JSON needs it."""
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, float):
        return {math.inf: ".inf", -math.inf: "-.inf"}.get(key) or format_float(key)
    if isinstance(key, str | int):
        return str(key)
    refuse(event, f"unsupported map key of type {type(key).__name__}")


def scalar(event: Any) -> object:
    tag = (event.tag or "").removeprefix(TAG)
    if tag == "binary":
        return decoded(event)
    if tag in ("", "!") and event.style in (None, ""):
        return resolve(event.value)
    if tag in ("int", "float", "bool", "null"):
        return tagged(event, tag)
    return event.value


def tagged(event: Any, tag: str) -> object:
    value = resolve(event.value)
    wanted: tuple[type, ...] = {"int": (int,), "float": (int, float), "bool": (bool,)}.get(
        tag, (type(None),)
    )
    if (isinstance(value, bool) and tag != "bool") or not isinstance(value, wanted):
        refuse(event, f"cannot decode `{event.value}` as a !!{tag}")
    return float(value) if tag == "float" and isinstance(value, int) else value


def decoded(event: Any) -> str:
    try:
        return base64.b64decode(event.value).decode("utf-8", "surrogateescape")
    except binascii.Error as error:
        raise NotYaml("yaml: !!binary value contains invalid base64 data") from error


def jsonable(value: object, budget: list[int] | None = None) -> object:
    """A copy with JSON's types. Aliases are expanded, up to a limit."""
    budget = budget or [MAX_NODES]
    budget[0] -= 1
    if budget[0] < 0:
        raise NotYaml("yaml: document contains excessive aliasing")
    if isinstance(value, list):
        return [jsonable(item, budget) for item in value]
    if isinstance(value, dict):
        return {key: jsonable(item, budget) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        raise NotYaml(f"json: unsupported value: {format_float(value)}")
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
