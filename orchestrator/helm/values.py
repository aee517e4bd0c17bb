"""The values of a template, with their Go types.

Most are plain Python values: str, bool, float (float64), int (int), None (a nil interface), list
([]interface {}) and dict (map[string]interface {}). Types that Go
distinguishes and Python does not have a subclass here. Bytes of a str that are not UTF-8 are
surrogates (`surrogateescape`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from types import NoneType
from typing import TYPE_CHECKING, ClassVar

from orchestrator.helm.errors import FunctionError

if TYPE_CHECKING:
    from orchestrator.helm.signature import Function

MAX_DEPTH = 500  # of nested lists and maps


class NoValue:
    """The value of a pipeline without one: Go's invalid value, which is not nil."""

    def __repr__(self) -> str:
        return "<no value>"


NO_VALUE = NoValue()


class Sized(int):
    """An integer of another Go type than int."""

    go_type: ClassVar[str]
    kind: ClassVar[str]
    bits: ClassVar[int] = 64
    signed: ClassVar[bool] = True

    @classmethod
    def wrap(cls, value: int) -> Sized:
        """`value` after overflow in this type: the excess bits are cut off."""
        value &= (1 << cls.bits) - 1
        if cls.signed and value >> (cls.bits - 1):
            value -= 1 << cls.bits
        return cls(value)


class Int64(Sized):
    go_type = kind = "int64"


class Uint8(Sized):
    go_type = kind = "uint8"
    bits = 8
    signed = False


class Uint32(Sized):
    go_type = kind = "uint32"
    bits = 32
    signed = False


class Uint64(Sized):
    go_type = kind = "uint64"
    signed = False


class Slice(list[object]):
    """A list of another type than []interface {}, or a nil one, which prints like an empty one."""

    __slots__ = ("element", "is_nil")

    def __init__(
        self, items: Iterable[object] = (), element: str = "interface {}", *, is_nil: bool = False
    ) -> None:
        super().__init__(items)
        self.element = element
        self.is_nil = is_nil


class Map(dict[object, object]):
    """A map of another type than map[string]interface {}, or a nil one. `zero` is the value
    of a missing key."""

    __slots__ = ("functions", "go_type", "is_nil", "zero")

    def __init__(
        self,
        items: Iterable[tuple[object, object]] = (),
        go_type: str = "map[string]interface {}",
        *,
        is_nil: bool = False,
        zero: object = None,
        methods: Mapping[str, Function] | None = None,
    ) -> None:
        super().__init__(items)
        self.go_type = go_type
        self.is_nil = is_nil
        self.zero = zero
        self.functions = methods or {}

    def methods(self) -> Mapping[str, Function]:
        return self.functions


class Struct:
    """A Go struct: fields by name, in order. Those of an embedded struct are `promoted`; `json` is
    the value for JSON and YAML, if it is not the fields."""

    __slots__ = ("fields", "go_type", "json", "promoted")

    def __init__(
        self,
        go_type: str,
        fields: Mapping[str, object],
        promoted: Mapping[str, object] | None = None,
        json: Mapping[str, object] | None = None,
    ) -> None:
        self.go_type = go_type
        self.fields = fields
        self.promoted = promoted or {}
        self.json = fields if json is None else json


class NilPointer:
    """A nil pointer, visible only in the printed fields of a struct."""

    __slots__ = ("go_type",)

    def __init__(self, go_type: str) -> None:
        self.go_type = go_type


class Verbatim(str):
    """A text that YAML and TOML write without quotes, as another type."""

    __slots__ = ()


class Opaque:
    """A value of a named type with methods and no fields. Printed as its type unless the class
    overrides that."""

    go_type: ClassVar[str]
    kind: ClassVar[str] = "struct"

    def __str__(self) -> str:
        return self.go_type

    def go_syntax(self) -> str | None:
        """The output of `%#v`, if it is not the content."""
        return None

    def inside(self) -> object:
        """The value for verbs that are not for strings."""
        return str(self)

    def in_json(self) -> object:
        """The value for JSON."""
        return str(self)

    def in_yaml(self) -> object:
        """The value for YAML (as in yaml.v3) and TOML."""
        return str(self)

    def methods(self) -> Mapping[str, Function]:
        return {}


def octets(value: list[object]) -> bytes:
    """The bytes of a []uint8."""
    return bytes(item for item in value if isinstance(item, int))


def strings(items: Iterable[str], *, is_nil: bool = False) -> Slice:
    return Slice(items, "string", is_nil=is_nil)


PLAIN_TYPES: dict[type, str] = {
    NoneType: "<nil>",
    NoValue: "<nil>",
    bool: "bool",
    int: "int",
    float: "float64",
    complex: "complex128",
    str: "string",
    list: "[]interface {}",
}


def type_of(value: object) -> str:
    """The Go type of `value`, as `%T` prints it."""
    if type(value) in PLAIN_TYPES:
        return PLAIN_TYPES[type(value)]
    if isinstance(value, Sized | Map | Struct | Opaque | NilPointer):
        return value.go_type
    if isinstance(value, Slice):
        return f"[]{value.element}"
    if isinstance(value, dict):
        plain = all(isinstance(key, str) for key in value)
        return "map[string]interface {}" if plain else "map[interface {}]interface {}"
    raise TypeError(f"{type(value).__name__} is not a value of a template")


def kind_of(value: object) -> str:
    """The Go kind of `value`, as named by reflection."""
    if value is None or isinstance(value, NoValue):
        return "invalid"
    if isinstance(value, Sized | Opaque):
        return value.kind
    for python_type, kind in ((list, "slice"), (dict, "map"), (Struct, "struct")):
        if isinstance(value, python_type):
            return kind
    return type_of(value)


INTEGER_KINDS = frozenset({"int", "int64"})
UNSIGNED_KINDS = frozenset({"uint8", "uint32", "uint64"})


def basic_kind(value: object) -> str:
    """The kind for comparisons: one for all signed integers, one for all unsigned ones."""
    kind = kind_of(value)
    if kind in INTEGER_KINDS:
        return "int"
    if kind in UNSIGNED_KINDS:
        return "uint"
    return kind if kind in ("bool", "float64", "complex128", "string") else ""


def is_nil(value: object) -> bool:
    """Whether `value` is nil: no value, or a nil list or map."""
    if isinstance(value, Slice | Map):
        return value.is_nil
    return value is None or isinstance(value, NoValue)


def truth(value: object) -> bool:
    """Whether `value` is true for `if`: structs are, empty and zero values are not."""
    if value is None or isinstance(value, NoValue):
        return False
    if isinstance(value, bool | int | float | complex | str | list | dict):
        return bool(value)
    return True


def is_empty(value: object) -> bool:
    """Sprig's `empty`, also used by `default` and similar functions."""
    return not truth(value)


def to_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def from_bytes(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def sort_key(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


KIND_ORDER = ("invalid", "bool", "int", "uint", "float64", "complex128", "string")


def sorted_keys(mapping: Mapping[object, object]) -> list[object]:
    """The keys in the order in which Go prints and ranges over a map."""
    if all(isinstance(key, str) for key in mapping):
        return sorted(mapping, key=lambda key: sort_key(str(key)))
    return sorted(mapping, key=_rank)


def _rank(key: object) -> tuple[int, float, bytes]:
    kind = basic_kind(key)
    place = KIND_ORDER.index(kind) if kind in KIND_ORDER else len(KIND_ORDER)
    if isinstance(key, bool | int | float):
        return place, key, b""
    return place, 0, sort_key(str(key))


def deep_equal(one: object, other: object, depth: int = 0) -> bool:
    """reflect.DeepEqual: the same type and the same content."""
    if depth > MAX_DEPTH:
        raise too_deep()
    if type_of(one) != type_of(other) or is_nil(one) != is_nil(other):
        return False
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(
            deep_equal(mine, its, depth + 1) for mine, its in zip(one, other, strict=True)
        )
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(
            deep_equal(one[key], other[key], depth + 1) for key in one
        )
    if isinstance(one, Struct) and isinstance(other, Struct):
        return deep_equal(one.fields, other.fields, depth + 1)
    return one == other


def deep_copy(value: object, depth: int = 0) -> object:
    if depth > MAX_DEPTH:
        raise too_deep()
    match value:
        case Slice():
            copied = (deep_copy(item, depth + 1) for item in value)
            return Slice(copied, value.element, is_nil=value.is_nil)
        case list():
            return [deep_copy(item, depth + 1) for item in value]
        case Map():
            pairs = ((key, deep_copy(item, depth + 1)) for key, item in value.items())
            return Map(pairs, value.go_type, is_nil=value.is_nil, zero=value.zero)
        case dict():
            return {key: deep_copy(item, depth + 1) for key, item in value.items()}
    return value


def too_deep() -> FunctionError:
    return FunctionError(
        f"lists and maps are nested more than {MAX_DEPTH} deep",
        "does a list or map contain itself?",
    )


def adopt(value: object, depth: int = 0) -> object:
    """A copy of `value`, from outside, in the types above.

    Numbers too large for an int become an unsigned one or a float, as YAML reads them in Go.
    """
    if depth > MAX_DEPTH:
        raise too_deep()
    match value:
        case None | bool() | str() | float():
            return value
        case int():
            return _adopt_int(value)
        case Mapping():
            return {adopt(key): adopt(item, depth + 1) for key, item in value.items()}
        case list() | tuple():
            return [adopt(item, depth + 1) for item in value]
        case datetime():
            from orchestrator.helm.gotime import Time

            return Time.of(value)
    raise TypeError(f"an option cannot be a {type(value).__name__}")


def _adopt_int(value: int) -> object:
    if -(2**63) <= value < 2**63:
        return int(value)
    return Uint64(value) if 0 <= value < 2**64 else float(value)
