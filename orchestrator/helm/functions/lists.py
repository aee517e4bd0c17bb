"""Sprig's functions on lists. `mustX` and `X` are the same here: both fail the template, as a
panic does in Go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from orchestrator.helm.errors import FunctionError
from orchestrator.helm.functions.numbers import to_int
from orchestrator.helm.functions.strings import strslice, strval
from orchestrator.helm.signature import Function
from orchestrator.helm.values import (
    Slice,
    deep_equal,
    is_empty,
    kind_of,
    sort_key,
    strings,
)

if TYPE_CHECKING:
    from orchestrator.helm.interpreter import Run


STEPS_TO_COMPARE = 4


def needs_list(value: object, action: str) -> list[object]:
    if isinstance(value, list):
        return value
    if value is None:
        raise FunctionError(f"Cannot {action} nil", "is the option set?")
    raise FunctionError(f"Cannot {action} type {kind_of(value)}", "it needs a list")


def list_(*items: object) -> list[object]:
    return list(items)


def append(value: object, item: object) -> list[object]:
    return [*needs_list(value, "push on"), item]


def prepend(value: object, item: object) -> list[object]:
    return [item, *needs_list(value, "prepend on")]


def concat(run: Run, *values: object) -> Slice:
    lists = [needs_list(value, "concat as list") for value in values]
    run.budget.reserve_items(sum(map(len, lists)))
    items = [item for part in lists for item in part]
    return Slice(items, is_nil=not items)


def first(value: object) -> object:
    items = needs_list(value, "find first on")
    return items[0] if items else None


def last(value: object) -> object:
    items = needs_list(value, "find last on")
    return items[-1] if items else None


def rest(value: object) -> Slice:
    items = needs_list(value, "find rest on")
    return Slice(items[1:], is_nil=not items)


def initial(value: object) -> Slice:
    items = needs_list(value, "find initial on")
    return Slice(items[:-1], is_nil=not items)


def reverse(value: object) -> list[object]:
    return needs_list(value, "find reverse on")[::-1]


def compact(value: object) -> list[object]:
    return [item for item in needs_list(value, "compact on") if not is_empty(item)]


def contains(run: Run, items: list[object], wanted: object) -> bool:
    run.budget.step(len(items) * STEPS_TO_COMPARE)
    return any(deep_equal(wanted, item) for item in items)


def uniq(run: Run, value: object) -> list[object]:
    items = needs_list(value, "find uniq on")
    run.budget.measure(items)
    unique: list[object] = []
    for item in items:
        if not contains(run, unique, item):
            unique.append(item)
    return unique


def without(run: Run, value: object, *unwanted: object) -> list[object]:
    items = needs_list(value, "find without on")
    run.budget.measure(items, *unwanted)
    return [item for item in items if not contains(run, list(unwanted), item)]


def has(run: Run, wanted: object, value: object) -> bool:
    if value is None:
        return False
    run.budget.measure(value, wanted)
    return contains(run, needs_list(value, "find has on"), wanted)


def slice_(value: object, *indices: object) -> object:
    if not isinstance(value, list):
        raise FunctionError(
            f"list should be type of slice or array but {kind_of(value)}",
            "for texts use substr or trunc",
        )
    if not value:
        return None
    start = to_int(indices[0]) if indices else 0
    end = to_int(indices[1]) if len(indices) > 1 else len(value)
    if not 0 <= start <= end <= len(value):
        raise FunctionError(f"slice index out of bounds: [{start}:{end}] of {len(value)} items")
    if isinstance(value, Slice):
        return Slice(value[start:end], value.element)
    return value[start:end]


def chunk(size: int, value: object) -> Slice:
    items = needs_list(value, "chunk")
    if size < 0 and (len(items) - 1) // size == -1:
        return Slice((), "[]interface {}")
    if size <= 0:
        raise FunctionError(f"cannot make chunks of {size} items")
    parts = [items[start : start + size] for start in range(0, len(items), size)]
    return Slice(parts, "[]interface {}")


def sort_alpha(run: Run, value: object) -> Slice:
    run.budget.measure(value)
    if isinstance(value, Slice) and value.element == "string":
        value.sort(key=lambda item: sort_key(str(item)))  # in place, as in Go
        return value
    if not isinstance(value, list):
        return strings([strval(value)])
    return strings(sorted(strslice(value), key=sort_key))


def until(run: Run, count: int) -> Slice:
    return until_step(run, 0, count, -1 if count < 0 else 1)


def until_step(run: Run, start: int, stop: int, step: int) -> Slice:
    if step == 0 or (stop < start) != (step < 0):
        return Slice((), "int")
    numbers = range(start, stop, step)
    run.budget.reserve_items(len(numbers))
    return Slice(numbers, "int")


def seq(run: Run, *numbers: int) -> str:
    """The numbers from the first to the last, like the program `seq`."""
    match numbers:
        case (end,):
            return joined(until_step(run, 1, end + sign(1, end), sign(1, end)))
        case (start, end):
            return joined(until_step(run, start, end + sign(start, end), sign(start, end)))
        case (start, step, end):
            if end < start and step > 0:
                return ""
            return joined(until_step(run, start, end + sign(start, end), step))
    return ""


def sign(start: int, end: int) -> int:
    return -1 if end < start else 1


def joined(numbers: Slice) -> str:
    return " ".join(map(str, numbers))


FUNCTIONS: Mapping[str, Function] = {
    "append": append,
    "chunk": chunk,
    "compact": compact,
    "concat": concat,
    "first": first,
    "has": has,
    "initial": initial,
    "last": last,
    "list": list_,
    "mustAppend": append,
    "mustChunk": chunk,
    "mustCompact": compact,
    "mustFirst": first,
    "mustHas": has,
    "mustInitial": initial,
    "mustLast": last,
    "mustPrepend": prepend,
    "mustPush": append,
    "mustRest": rest,
    "mustReverse": reverse,
    "mustSlice": slice_,
    "mustUniq": uniq,
    "mustWithout": without,
    "prepend": prepend,
    "push": append,
    "rest": rest,
    "reverse": reverse,
    "seq": seq,
    "slice": slice_,
    "sortAlpha": sort_alpha,
    "tuple": list_,
    "uniq": uniq,
    "until": until,
    "untilStep": until_step,
    "without": without,
}
