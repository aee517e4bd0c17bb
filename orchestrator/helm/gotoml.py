"""TOML, written like BurntSushi/toml, and read into Go's types."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import date, datetime, time

from orchestrator.helm.gotime import FixedZone, Time
from orchestrator.helm.quoting import format_float
from orchestrator.helm.values import (
    MAX_DEPTH,
    Int64,
    Opaque,
    Slice,
    Struct,
    Verbatim,
    is_nil,
    sort_key,
    type_of,
)

BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
ESCAPES = {
    "\b": "\\b",
    "\t": "\\t",
    "\n": "\\n",
    "\f": "\\f",
    "\r": "\\r",
    '"': '\\"',
    "\\": "\\\\",
    "\x7f": "\\u007f",
}


class NotToml(Exception):
    """`NotToml(message)`: a value has no TOML form, or a text is not TOML."""


def encode(value: object) -> str:
    return "".join(Encoder().document(value))


class Encoder:
    def __init__(self) -> None:
        self.has_written = False

    def document(self, value: object) -> Iterator[str]:
        if isinstance(value, list) and is_table_array(value):
            raise NotToml("toml: top-level values must be Go maps or structs")
        table = table_of(value)
        if table is None:
            yield element(value, 0)
        elif not is_nil(value):
            yield from self.table((), table)

    def table(self, path: tuple[str, ...], table: dict[str, object]) -> Iterator[str]:
        """First the plain keys, then the tables."""
        if len(path) > MAX_DEPTH:
            raise NotToml("toml: tables are nested too deeply")
        for keys in split_keys(table):
            for key in keys:
                if not is_nil(table[key]) or isinstance(table[key], Slice):
                    yield from self.entry((*path, key), table[key])

    def entry(self, path: tuple[str, ...], value: object) -> Iterator[str]:
        indent = "  " * (len(path) - 1)
        table = table_of(value)
        if isinstance(value, list) and is_table_array(value):
            for item in value:
                yield self.blank_line()
                yield f"{indent}[[{dotted(path)}]]\n"
                yield from self.table(path, table_of(item) or {})
        elif table is None:
            self.has_written = True
            yield f"{indent}{quoted_key(path[-1])} = {element(value, 0)}\n"
        else:
            if len(path) == 1:
                yield self.blank_line()
            self.has_written = True
            yield f"{indent}[{dotted(path)}]\n"
            yield from self.table(path, table)

    def blank_line(self) -> str:
        before, self.has_written = self.has_written, True
        return "\n" if before else ""


def table_of(value: object) -> dict[str, object] | None:
    if isinstance(value, Struct):
        return {**value.fields}
    if not isinstance(value, dict):
        return None
    if type_of(value) == "map[interface {}]interface {}":
        raise NotToml("toml: cannot encode a map with non-string key type")
    return {str(key): item for key, item in value.items()}


def split_keys(table: dict[str, object]) -> tuple[list[str], list[str]]:
    keys = sorted(table, key=sort_key)
    tables = [key for key in keys if is_table(table[key])]
    return [key for key in keys if key not in set(tables)], tables


def is_table(value: object) -> bool:
    if isinstance(value, list):
        return is_table_array(value)
    return isinstance(value, dict | Struct)


def is_table_array(items: list[object]) -> bool:
    if any(item is None for item in items):
        raise NotToml("toml: cannot encode array with nil element")
    return bool(items) and all(isinstance(item, dict | Struct) for item in items)


def element(value: object, depth: int) -> str:
    """A value within a line."""
    if depth > MAX_DEPTH:
        raise NotToml("toml: lists are nested too deeply")
    if isinstance(value, Opaque):
        value = value.in_yaml()
    if isinstance(value, list):
        return f"[{', '.join(element(item, depth + 1) for item in value)}]"
    table = table_of(value)
    return scalar(value) if table is None else inline_table(table, depth)


def scalar(value: object) -> str:
    if isinstance(value, str):
        return str(value) if isinstance(value, Verbatim) else quoted(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return real(value)
    if isinstance(value, int):
        return str(int(value))
    raise NotToml(f"unexpected type: {type_of(value)}")


def inline_table(table: dict[str, object], depth: int) -> str:
    direct, tables = split_keys(table)
    pairs = [
        f"{quoted_key(key)} = {element(table[key], depth + 1)}"
        for key in (*direct, *tables)
        if table[key] is not None
    ]
    return "{" + ", ".join(pairs) + "}"


def real(value: float) -> str:
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    text = format_float(value)
    return text if "e" in text or "." in text else text + ".0"


def quoted(text: str) -> str:
    return '"' + "".join(map(escaped, text)) + '"'


def escaped(char: str) -> str:
    return ESCAPES.get(char) or (f"\\u{ord(char):04x}" if char < " " else char)


def quoted_key(key: str) -> str:
    return key if BARE_KEY.fullmatch(key) else quoted(key)


def dotted(path: tuple[str, ...]) -> str:
    return ".".join(map(quoted_key, path))


def decode(text: str) -> dict[str, object]:
    """Raises `NotToml`."""
    import tomllib

    try:
        return {key: adopted(value) for key, value in tomllib.loads(text).items()}
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise NotToml(f"toml: {error}") from error


def adopted(value: object) -> object:
    """TOML's types as Go's: integers are int64."""
    match value:
        case bool() | str() | float():
            return value
        case int():
            return Int64(value)
        case dict():
            return {key: adopted(item) for key, item in value.items()}
        case list():
            items = [adopted(item) for item in value]
            tables = bool(items) and all(isinstance(item, dict) for item in items)
            return Slice(items, "map[string]interface {}") if tables else items
        case datetime() if value.tzinfo:
            return Time.of(value)
        case datetime() | date() | time():
            return local_time(value)
    raise NotToml(f"toml: unexpected {type(value).__name__}")


def local_time(value: datetime | date | time) -> Time:
    """A time without a zone gets a zone named as local."""
    name = {datetime: "datetime-local", date: "date-local", time: "time-local"}[type(value)]
    year, month, day = 0, 1, 1
    clock = time(0)
    if isinstance(value, date):
        year, month, day = value.year, value.month, value.day
    if isinstance(value, datetime | time):
        clock = time(value.hour, value.minute, value.second, value.microsecond)
    offset = Time.now().zone_at()[1]  # today's offset, for any day
    seconds = (clock.hour * 60 + clock.minute) * 60 + clock.second
    moment = Time.date(year, month, day, seconds, FixedZone(name, offset))
    return moment.moved(clock.microsecond * 1000)
