"""JSON, written and read like Go's encoding/json."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Iterable, Iterator

from orchestrator.helm.errors import NotJson
from orchestrator.helm.quoting import format_float
from orchestrator.helm.values import (
    MAX_DEPTH,
    Map,
    NoValue,
    Opaque,
    Slice,
    Struct,
    octets,
    sort_key,
    to_bytes,
    type_of,
)

MAX_NUMBER_LENGTH = 400


SHORT = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
SPECIAL = re.compile('["\\\\\x00-\x1f\u2028\u2029\ud800-\udfff]')
SPECIAL_HTML = re.compile('["\\\\\x00-\x1f\u2028\u2029\ud800-\udfff<>&]')


def encode(value: object, *, html: bool = True, indent: str = "") -> str:
    """`value` as JSON with sorted keys. `html` escapes `<`, `>` and `&`; `indent` spreads it over
    lines."""
    return "".join(Encoder(html=html, indent=indent).value(value, 0))


class Encoder:
    def __init__(self, *, html: bool, indent: str) -> None:
        self.special = SPECIAL_HTML if html else SPECIAL
        self.indent = indent

    def value(self, value: object, depth: int) -> Iterator[str]:
        if depth > MAX_DEPTH:
            raise NotJson("json: unsupported value: encountered a cycle")
        if isinstance(value, Opaque):
            value = value.in_json()
        if isinstance(value, dict):
            yield from self.mapping(value, depth)
        elif isinstance(value, list):
            yield from self.sequence(value, depth)
        elif isinstance(value, Struct):
            yield from self.members(value.json.items(), depth)
        else:
            yield self.scalar(value)

    def scalar(self, value: object) -> str:
        if value is None or isinstance(value, NoValue):
            return "null"
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, int):
            return str(int(value))
        if isinstance(value, float):
            return number(value)
        raise NotJson(f"json: unsupported type: {type_of(value)}")

    def text(self, text: str) -> str:
        return '"' + self.special.sub(self.escape, text) + '"'

    def escape(self, found: re.Match[str]) -> str:
        char = found[0]
        if "\ud800" <= char < "\ue000":
            return "\\ufffd"
        return SHORT.get(char) or f"\\u{ord(char):04x}"

    def mapping(self, value: dict[object, object], depth: int) -> Iterator[str]:
        if isinstance(value, Map) and value.is_nil:
            yield "null"
            return
        if type_of(value) == "map[interface {}]interface {}":
            raise NotJson(f"json: unsupported type: {type_of(value)}")
        keys = sorted(map(str, value), key=sort_key)
        yield from self.members(((key, value[key]) for key in keys), depth)

    def members(self, pairs: Iterable[tuple[str, object]], depth: int) -> Iterator[str]:
        written = [
            [self.text(key), ": " if self.indent else ":", *self.value(item, depth + 1)]
            for key, item in pairs
        ]
        yield from self.enclosed("{", written, "}", depth)

    def sequence(self, value: list[object], depth: int) -> Iterator[str]:
        if isinstance(value, Slice) and value.is_nil:
            yield "null"
        elif isinstance(value, Slice) and value.element == "uint8":
            yield self.text(base64.b64encode(octets(value)).decode())
        else:
            written = [list(self.value(item, depth + 1)) for item in value]
            yield from self.enclosed("[", written, "]", depth)

    def enclosed(
        self, opening: str, members: list[list[str]], closing: str, depth: int
    ) -> Iterator[str]:
        inside = "\n" + self.indent * (depth + 1) if self.indent and members else ""
        yield opening
        for index, member in enumerate(members):
            if index:
                yield ","
            yield inside
            yield from member
        if inside:
            yield "\n" + self.indent * depth
        yield closing


def number(value: float) -> str:
    """As in ES6: an exponent only for very small and very large numbers."""
    if not math.isfinite(value):
        raise NotJson(f"json: unsupported value: {format_float(value)}")
    if value and not 1e-6 <= abs(value) < 1e21:
        text = format_float(value, "e")
        return re.sub(r"e([-+])0(\d)$", r"e\1\2", text)
    return format_float(value, "f")


def decode(text: str) -> object:
    """The value of a JSON text: all numbers are floats. Raises `NotJson`."""
    try:
        value: object = json.loads(
            text,
            parse_int=parse_number,
            parse_float=parse_number,
            parse_constant=refuse_constant,
        )
    except json.JSONDecodeError as error:
        raise NotJson(complaint(text, error)) from error
    except RecursionError as error:
        raise NotJson("exceeded max depth") from error
    return without_surrogates(value) if "\\u" in text else value


def parse_number(text: str) -> float:
    value = float(text) if len(text) < MAX_NUMBER_LENGTH else math.inf
    if not math.isfinite(value):
        raise NotJson(f"json: cannot unmarshal number {text} into Go value of type float64")
    return value


def refuse_constant(name: str) -> object:
    raise NotJson(f"invalid character '{name[0]}' looking for beginning of value")


# Python's error messages, and Go's.
COMPLAINTS = {
    "Extra data": "after top-level value",
    "Expecting property name": "looking for beginning of object key string",
    "Expecting ':'": "after object key",
    "Expecting ','": "after array element",
    "Invalid control character": "in string literal",
    "Invalid \\": "in string escape code",
}


def complaint(text: str, error: json.JSONDecodeError) -> str:
    if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated"):
        return "unexpected end of JSON input"
    place = next((go for python, go in COMPLAINTS.items() if error.msg.startswith(python)), "")
    char = chr(to_bytes(text[error.pos])[0])  # Go reads bytes
    return f"invalid character '{char}' {place or 'looking for beginning of value'}"


def without_surrogates(value: object) -> object:
    """Lone surrogates, such as from `\\ud800`, are replaced as in Go."""
    if isinstance(value, str):
        return re.sub("[\ud800-\udfff]", "\ufffd", value)
    if isinstance(value, list):
        return [without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {without_surrogates(key): without_surrogates(value[key]) for key in value}
    return value
