"""YAML, written like Go's yaml.v2 and yaml.v3: block style, sorted keys."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterator, Mapping
from functools import cmp_to_key

from orchestrator.helm import gojson
from orchestrator.helm.errors import FunctionError, NotJson
from orchestrator.helm.quoting import format_float
from orchestrator.helm.values import (
    MAX_DEPTH,
    Map,
    NoValue,
    Opaque,
    Slice,
    Struct,
    Verbatim,
    octets,
    too_deep,
)
from orchestrator.helm.yamlscalars import is_text, key_less
from orchestrator.helm.yamlwriter import BREAKS, WIDTH, Look, Writer

INDENT = 2
LONGEST_SIMPLE_KEY = 128
SURROGATE = re.compile("[\ud800-\udfff]")
# What the YAML reader, through which the JSON passes, refuses, and a break that it folds.
UNREADABLE = re.compile("[\x7f-\x84\x86-\x9f\ufffe\uffff]")
FOLDED = re.compile("(?: *\x85 *)+")


def to_yaml(value: object) -> str:
    """sigs.k8s.io/yaml: through JSON, then yaml.v2. Raises `NotJson`."""
    text = gojson.encode(value)  # a value without JSON has no YAML here
    if UNREADABLE.search(text):
        raise NotJson("yaml: control characters are not allowed")
    return Emitter(is_v3=False).document(json_view(value))


def to_yaml_pretty(value: object) -> str:
    """yaml.v3 with an indentation of two."""
    return Emitter(is_v3=True).document(yaml_view(value))


def json_view(value: object) -> object:
    """`value` after conversion to JSON and back: whole floats have become integers."""
    if isinstance(value, Opaque):
        value = value.in_json()
    if isinstance(value, Slice | Map) and value.is_nil:
        return None
    if isinstance(value, Slice) and value.element == "uint8":
        return base64.b64encode(octets(value)).decode()
    if isinstance(value, list):
        return [json_view(item) for item in value]
    members = value.json if isinstance(value, Struct) else value
    if isinstance(members, Mapping):
        return {json_key(key): json_view(item) for key, item in members.items()}
    if isinstance(value, float):
        return json_float(value)
    return json_text(value) if isinstance(value, str) else value


def json_key(key: object) -> object:
    if isinstance(key, str) and "\x85" in key:
        raise NotJson("yaml: a key has a line break")
    return json_view(key)


def json_text(text: str) -> str:
    return FOLDED.sub(folded, SURROGATE.sub("\ufffd", text))


def folded(found: re.Match[str]) -> str:
    """One break becomes a space, of several one is removed."""
    return "\n" * (found[0].count("\x85") - 1) or " "


def json_float(value: float) -> object:
    if value.is_integer() and -(2.0**63) <= value < 2.0**64:
        return int(gojson.number(value))
    return value


def yaml_view(value: object) -> object:
    if isinstance(value, Opaque):
        return value.in_yaml()
    if isinstance(value, dict):
        return {yaml_view(key): yaml_view(item) for key, item in value.items()}
    if isinstance(value, list):
        return [yaml_view(item) for item in value]
    if isinstance(value, Struct):
        return InOrder((name.lower(), yaml_view(item)) for name, item in value.fields.items())
    return value


class InOrder(dict[str, object]):
    """Fields of a struct, in their order."""


class Emitter:
    """Writes one document. yaml.v2 does not indent lists below their key, and folds long lines."""

    def __init__(self, *, is_v3: bool) -> None:
        self.is_v3 = is_v3
        self.width = math.inf if is_v3 else WIDTH

    def document(self, value: object) -> str:
        if is_nested(value):
            return "".join(self.nested(value, 0, 0))
        return self.scalar(value, Writer(INDENT, 0, self.width)) + "\n"

    def nested(self, value: object, indent: int, depth: int) -> Iterator[str]:
        """The lines of a list or map that is not empty."""
        if depth > MAX_DEPTH:
            raise too_deep()
        if isinstance(value, dict):
            in_order = isinstance(value, InOrder)
            for key in value if in_order else sorted(value, key=cmp_to_key(self.compare)):
                yield from self.entry(key, value[key], indent, depth)
        elif isinstance(value, list):
            for item in value:
                yield " " * indent + "-"
                yield from self.inline(item, indent, depth, column=indent + 1)

    def entry(self, key: object, value: object, indent: int, depth: int) -> Iterator[str]:
        pad = " " * indent
        if not is_simple_key(key):
            hard = self.scalar(key, Writer(indent + INDENT, indent + 2, self.width))
            yield f"{pad}? {hard}\n{pad}:"
            yield from self.inline(value, indent, depth, column=indent + 1)
            return
        text = self.scalar(key, Writer(indent, indent, math.inf), is_key=True)
        yield f"{pad}{text}:"
        if is_nested(value):
            is_flush = isinstance(value, list) and not self.is_v3
            yield "\n"
            yield from self.nested(value, indent + (0 if is_flush else INDENT), depth + 1)
        else:
            yield from self.inline(value, indent, depth, column=indent + len(text) + 1)

    def inline(self, value: object, indent: int, depth: int, *, column: int) -> Iterator[str]:
        """`value` after a `-` or `:` that ends at `column`."""
        if is_nested(value):
            text = "".join(self.nested(value, indent + INDENT, depth + 1))
            yield f" {text[indent + INDENT :]}"
        else:
            yield f" {self.scalar(value, Writer(indent + INDENT, column + 1, self.width))}\n"

    def compare(self, one: object, other: object) -> int:
        if key_less(one, other, is_v3=self.is_v3):
            return -1
        return int(key_less(other, one, is_v3=self.is_v3))

    def scalar(self, value: object, writer: Writer, *, is_key: bool = False) -> str:
        if isinstance(value, str) and not isinstance(value, Verbatim):
            return self.text(value, writer, is_key=is_key)
        return plain_scalar(value)

    def text(self, text: str, writer: Writer, *, is_key: bool) -> str:
        """In the style that yaml.v2 and yaml.v3 use for it."""
        if SURROGATE.search(text):
            data = text.encode("utf-8", "surrogateescape")
            return f"!!binary {base64.b64encode(data).decode()}"
        look = Look(text, is_v3=self.is_v3)
        if "\n" in text:
            can_be_literal = look.block_allowed and not is_key
            return writer.literal(text, INDENT) if can_be_literal else writer.double_quoted(text)
        if not is_text(text, is_v3=self.is_v3):
            return writer.double_quoted(text)
        if look.plain_allowed:
            return writer.plain(text)
        return writer.single_quoted(text) if look.single_allowed else writer.double_quoted(text)


def is_nested(value: object) -> bool:
    return isinstance(value, list | dict) and bool(value)


def is_simple_key(key: object) -> bool:
    text = str(key)
    size = len(text.encode("utf-8", "surrogateescape"))
    return size <= LONGEST_SIMPLE_KEY and not any(char in BREAKS for char in text)


def plain_scalar(value: object) -> str:
    if value is None or isinstance(value, NoValue):
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | dict):
        return "[]" if isinstance(value, list) else "{}"
    if isinstance(value, float):
        if math.isfinite(value):
            return format_float(value)
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    if isinstance(value, complex):
        raise FunctionError("cannot marshal type: complex128")
    return str(value)
