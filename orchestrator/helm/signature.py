"""The Go types of a function's parameters, read from its Python annotations.

A function of the language is a Python function with annotations for Go's types:

    def repeat(run: Run, count: int, text: str) -> str

A first parameter annotated `Run` is passed by the interpreter and hidden from the template.
`object` accepts any value; a starred parameter accepts any number of arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import FunctionType

from orchestrator.helm import ast
from orchestrator.helm.values import Int64, Map, NoValue, Slice, Uint32, type_of

Function = Callable[..., object]

MAP = "map[string]interface {}"
ALSO = {
    MAP: ("chartutil.Values",)
}  # types that are assignable, since their underlying types are the same
NILABLE = frozenset(
    {"interface {}", "map[string]interface {}", "[]interface {}", "*semver.Version"}
)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter: the Go name of its type, and whether it accepts nil."""

    go_type: str

    @property
    def takes_all(self) -> bool:
        return self.go_type == "interface {}"

    @property
    def nilable(self) -> bool:
        return self.go_type in NILABLE

    def accepts(self, value: object) -> bool:
        return self.takes_all or type_of(value) in (self.go_type, *ALSO.get(self.go_type, ()))

    def zero(self) -> object:
        """A nil of this type."""
        if self.go_type == MAP:
            return Map(is_nil=True)
        return Slice(is_nil=True) if self.go_type == "[]interface {}" else None

    def constant(self, node: ast.Number) -> object:
        """The constant as this type, or None if it cannot be one."""
        if self.go_type == "float64":
            return node.real
        if self.go_type == "uint32":
            return None if node.unsigned is None else Uint32.wrap(node.unsigned)
        kind = integer_type(self.go_type)
        return None if kind is None or node.integer is None else kind(node.integer)

    @property
    def wanted(self) -> str:
        """The name of this type in error messages."""
        return PLAIN_WORDS.get(self.go_type, self.go_type)


def integer_type(go_type: str) -> type[int] | None:
    """The class for signed integers of that type."""
    if go_type in ("int", "int64"):
        return int if go_type == "int" else Int64
    from orchestrator.helm.gotime import Duration, Month

    return {"time.Duration": Duration, "time.Month": Month}.get(go_type)


PLAIN_WORDS = {
    "interface {}": "a value",
    "string": "a string",
    "int": "an int",
    "int64": "an int64",
    "uint32": "an unsigned integer",
    "float64": "a float64",
    "bool": "a bool",
    "map[string]interface {}": "a map",
    "[]interface {}": "a list",
    "time.Time": "a time",
    "time.Duration": "a duration",
}

ANNOTATIONS = {
    "object": "interface {}",
    "str": "string",
    "int": "int",
    "Int64": "int64",
    "Uint32": "uint32",
    "float": "float64",
    "bool": "bool",
    "GoMap": "map[string]interface {}",
    "GoList": "[]interface {}",
    "Time": "time.Time",
    "Duration": "time.Duration",
    "Month": "time.Month",
    "Location": "*time.Location",
    "Version": "*semver.Version",
    "Certificate": "sprig.certificate",
}


@dataclass(frozen=True, slots=True)
class Signature:
    wants_run: bool
    parameters: tuple[Parameter, ...]
    rest: Parameter | None

    def parameter(self, index: int) -> Parameter:
        if index < len(self.parameters):
            return self.parameters[index]
        assert self.rest
        return self.rest

    def complaint(self, name: str, given: int) -> str:
        """The error for that many arguments; empty if they are accepted."""
        least = len(self.parameters)
        if given == least or (self.rest and given > least):
            return ""
        want = f"at least {least}" if self.rest else str(least)
        return f"wrong number of args for {name}: want {want} got {given}"


@lru_cache(maxsize=1024)
def signature_of(function: Function) -> Signature:
    assert isinstance(function, FunctionType)
    code = function.__code__
    annotations: Mapping[str, str] = function.__annotations__
    names = code.co_varnames[: code.co_argcount]
    wants_run = bool(names) and annotations.get(names[0]) == "Run"
    rest = None
    if code.co_flags & 0x04:  # the code has *args
        name = code.co_varnames[code.co_argcount + code.co_kwonlyargcount]
        rest = Parameter(ANNOTATIONS[annotations[name]])
    # The receiver of a method is called `it`.
    fixed = (annotations[name] for name in names[wants_run:] if name != "it")
    return Signature(wants_run, tuple(Parameter(ANNOTATIONS[word]) for word in fixed), rest)


def describe(value: object) -> str:
    return "nothing" if value is None or isinstance(value, NoValue) else type_of(value)
