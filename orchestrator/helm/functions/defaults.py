"""Sprig's functions that choose between values, and that inspect types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from orchestrator.helm.errors import FunctionError
from orchestrator.helm.signature import Function
from orchestrator.helm.values import deep_copy, deep_equal, is_empty, kind_of, type_of

if TYPE_CHECKING:
    from orchestrator.helm.interpreter import Run


def default(fallback: object, *given: object) -> object:
    return fallback if not given or is_empty(given[0]) else given[0]


def empty(value: object) -> bool:
    return is_empty(value)


def coalesce(*values: object) -> object:
    return next((value for value in values if not is_empty(value)), None)


def all_(*values: object) -> bool:
    return not any(map(is_empty, values))


def any_(*values: object) -> bool:
    return not all(map(is_empty, values))


def ternary(yes: object, no: object, choice: bool) -> object:  # noqa: FBT001
    return yes if choice else no


def copied(run: Run, value: object) -> object:
    if value is None:
        raise FunctionError("cannot copy nil", "is the option set?")
    run.budget.measure(value)
    return deep_copy(value)


def type_of_(value: object) -> str:
    return type_of(value)


def type_is(wanted: str, value: object) -> bool:
    return type_of(value) == wanted


def type_is_like(wanted: str, value: object) -> bool:
    return type_of(value) in (wanted, "*" + wanted)


def kind_of_(value: object) -> str:
    return kind_of(value)


def kind_is(wanted: str, value: object) -> bool:
    return kind_of(value) == wanted


def deep_equal_(run: Run, one: object, other: object) -> bool:
    run.budget.measure(one, other)
    return deep_equal(one, other)


FUNCTIONS: Mapping[str, Function] = {
    "all": all_,
    "any": any_,
    "coalesce": coalesce,
    "deepCopy": copied,
    "deepEqual": deep_equal_,
    "default": default,
    "empty": empty,
    "kindIs": kind_is,
    "kindOf": kind_of_,
    "mustDeepCopy": copied,
    "ternary": ternary,
    "typeIs": type_is,
    "typeIsLike": type_is_like,
    "typeOf": type_of_,
}
