"""The functions of text/template itself. `and` and `or` are in the evaluator, since they do not
always evaluate all arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from orchestrator.helm.errors import FunctionError
from orchestrator.helm.printf import sprintf
from orchestrator.helm.printing import PLAIN, format_value, sprint
from orchestrator.helm.signature import Function, describe
from orchestrator.helm.values import (
    Map,
    Opaque,
    Uint8,
    basic_kind,
    is_nil,
    kind_of,
    to_bytes,
    truth,
    type_of,
)

if TYPE_CHECKING:
    from orchestrator.helm.interpreter import Run


NOTHING = "<no value>"


def and_(first: object, *rest: object) -> object:
    return next((value for value in (first, *rest) if not truth(value)), (first, *rest)[-1])


def or_(first: object, *rest: object) -> object:
    return next((value for value in (first, *rest) if truth(value)), (first, *rest)[-1])


def not_(value: object) -> bool:
    return not truth(value)


def call(function: object, *_: object) -> object:
    """Always an error: no value of a template is a function."""
    raise FunctionError(f"{describe(function)} is not a function")


def length(value: object) -> int:
    if isinstance(value, str):
        return len(to_bytes(value))
    if isinstance(value, list | dict):
        return len(value)
    raise FunctionError("len of nil pointer" if value is None else f"len of type {type_of(value)}")


def index(value: object, *indices: object) -> object:
    if value is None:
        raise FunctionError("index of untyped nil", "is the option set?")
    for key in indices:
        value = index_one(value, key)
    return value


def index_one(value: object, key: object) -> object:
    if value is None:
        raise FunctionError("index of nil pointer", "is the option set?")
    if isinstance(value, str):
        data = to_bytes(value)
        return Uint8(data[position(key, len(data) - 1)])
    if isinstance(value, list):
        return value[position(key, len(value) - 1)]
    if isinstance(value, dict):
        if not isinstance(key, str) and not type_of(value).startswith("map[interface {}]"):
            raise FunctionError(f"a key is a string, not {describe(key)}")
        return value.get(key, value.zero if isinstance(value, Map) else None)
    raise FunctionError(f"can't index item of type {type_of(value)}")


def position(key: object, last: int) -> int:
    if basic_kind(key) not in ("int", "uint") or not isinstance(key, int):
        raise FunctionError(f"cannot index a list with {describe(key)}")
    if not 0 <= key <= last:
        raise FunctionError(f"index out of range: {int(key)}")
    return int(key)


def html(run: Run, *values: object) -> str:
    text = escapable(run, values)
    for char, entity in (
        ("&", "&amp;"),
        ("<", "&lt;"),
        (">", "&gt;"),
        ('"', "&#34;"),
        ("'", "&#39;"),
        ("\0", "\ufffd"),
    ):
        text = text.replace(char, entity)
    return text


JS_ESCAPES = {
    "\\": "\\\\",
    "'": "\\'",
    '"': '\\"',
    "<": "\\u003C",
    ">": "\\u003E",
    "&": "\\u0026",
    "=": "\\u003D",
}


def js(run: Run, *values: object) -> str:
    return "".join(js_character(char) for char in escapable(run, values))


def js_character(char: str) -> str:
    if char in JS_ESCAPES:
        return JS_ESCAPES[char]
    if "\udc80" <= char <= "\udcff":
        return "\ufffd"
    return char if char.isprintable() or char == "\x7f" else f"\\u{ord(char):04X}"


def urlquery(run: Run, *values: object) -> str:
    from urllib.parse import quote_plus

    return quote_plus(to_bytes(escapable(run, values)), safe="")


def escapable(run: Run, values: tuple[object, ...]) -> str:
    """The text to escape; no value is `<no value>` here."""
    run.budget.measure(*values)
    return sprint(tuple(NOTHING if value is None else value for value in values))


def print_(run: Run, *values: object) -> str:
    run.budget.measure(*values)
    return sprint(values)


def println(run: Run, *values: object) -> str:
    run.budget.measure(*values)
    return " ".join(format_value(value, "v", PLAIN) for value in values) + "\n"


def printf(run: Run, layout: str, *values: object) -> str:
    return sprintf(run.budget, layout, values)


# Comparison: all signed integers compare with each other and with unsigned ones; otherwise only
# values of the same kind compare.


def eq(first: object, *others: object) -> bool:
    if not others:
        raise FunctionError("missing argument for comparison")
    return any(equal(first, other) for other in others)


def equal(one: object, other: object) -> bool:
    kinds = basic_kind(one), basic_kind(other)
    if kinds[0] != kinds[1] and set(kinds) != {"int", "uint"}:
        if one is None or other is None:
            return False
        raise incompatible(one, other)
    if kinds[0]:
        return one == other
    return equal_composites(one, other)


def equal_composites(one: object, other: object) -> bool:
    if one is None or other is None:
        return is_nil(one) and is_nil(other)
    if kind_of(one) != kind_of(other):
        raise incompatible(one, other)
    if is_nil(one) or is_nil(other):
        return is_nil(one) and is_nil(other)
    if not isinstance(other, Opaque):
        raise FunctionError(
            f"non-comparable type {type_of(other)}", "lists and maps compare with deepEqual"
        )
    return one == other


def incompatible(one: object, other: object) -> FunctionError:
    return FunctionError(
        f"incompatible types for comparison: {type_of(one)} and {type_of(other)}",
        "convert one of them, with `int`, `float64` or `toString`",
    )


def ne(one: object, other: object) -> bool:
    return not equal(one, other)


def lt(one: object, other: object) -> bool:
    kinds = basic_kind(one), basic_kind(other)
    if "" in kinds:
        raise FunctionError(f"invalid type for comparison: {describe(other if kinds[0] else one)}")
    if kinds[0] != kinds[1] and set(kinds) != {"int", "uint"}:
        raise incompatible(one, other)
    if kinds[0] in ("bool", "complex128"):
        raise FunctionError(f"invalid type for comparison: {kinds[0]}")
    if isinstance(one, str) and isinstance(other, str):
        return to_bytes(one) < to_bytes(other)
    assert isinstance(one, int | float)
    assert isinstance(other, int | float)
    return one < other


def le(one: object, other: object) -> bool:
    return lt(one, other) or equal(one, other)


def gt(one: object, other: object) -> bool:
    return not le(one, other)


def ge(one: object, other: object) -> bool:
    return not lt(one, other)


FUNCTIONS: Mapping[str, Function] = {
    "and": and_,
    "call": call,
    "eq": eq,
    "ge": ge,
    "gt": gt,
    "html": html,
    "index": index,
    "js": js,
    "le": le,
    "len": length,
    "lt": lt,
    "ne": ne,
    "not": not_,
    "or": or_,
    "print": print_,
    "printf": printf,
    "println": println,
    "urlquery": urlquery,
}
