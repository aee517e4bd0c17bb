"""The nodes of a parsed template. `str(node)` is the node as a template would write it."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct


class Node(Struct, frozen=True):
    """`pos` is where the node begins: a character of the text, counted from 0."""

    pos: int


# Operands: what a command is made of.


class Dot(Node, frozen=True):
    def __str__(self) -> str:
        return "."


class Nil(Node, frozen=True):
    def __str__(self) -> str:
        return "nil"


class Bool(Node, frozen=True):
    value: bool

    def __str__(self) -> str:
        return "true" if self.value else "false"


class String(Node, frozen=True):
    quoted: str
    value: str

    def __str__(self) -> str:
        return self.quoted


class Number(Node, frozen=True):
    """A constant with its value as each type that can hold it exactly; None where none can."""

    text: str
    integer: int | None = None
    unsigned: int | None = None
    real: float | None = None
    imaginary: complex | None = None

    def __str__(self) -> str:
        return self.text


class Identifier(Node, frozen=True):
    """The name of a function."""

    name: str

    def __str__(self) -> str:
        return self.name


class Field(Node, frozen=True):
    """`.a.b`: fields of the dot."""

    names: tuple[str, ...]

    def __str__(self) -> str:
        return "".join(f".{name}" for name in self.names)


class Variable(Node, frozen=True):
    """`$x.a.b`: a variable, with its `$`, and fields of its value."""

    name: str
    fields: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ".".join((self.name, *self.fields))


class Chain(Node, frozen=True):
    """`(...).a.b`: fields of what another operand gives."""

    operand: Operand
    names: tuple[str, ...]

    def __str__(self) -> str:
        return ".".join((in_command(self.operand), *self.names))


class Command(Node, frozen=True):
    """`f a b`: the first operand, given the others."""

    operands: tuple[Operand, ...]

    def __str__(self) -> str:
        return " ".join(in_command(operand) for operand in self.operands)


class Pipeline(Node, frozen=True):
    """`$x := a | b`: commands, each given the result of the one before, kept in variables."""

    variables: tuple[Variable, ...]
    assigns: bool
    commands: tuple[Command, ...]

    def __str__(self) -> str:
        piped = " | ".join(map(str, self.commands))
        if not self.variables:
            return piped
        return f"{', '.join(map(str, self.variables))} {'=' if self.assigns else ':='} {piped}"


Operand: TypeAlias = (
    Dot | Nil | Bool | String | Number | Identifier | Field | Variable | Chain | Pipeline
)


def in_command(operand: Operand) -> str:
    return f"({operand})" if isinstance(operand, Pipeline) else str(operand)


# Statements: what a template is made of.


class Text(Node, frozen=True):
    text: str


class Action(Node, frozen=True):
    pipeline: Pipeline

    def __str__(self) -> str:
        return f"{{{{{self.pipeline}}}}}"


class Branch(Node, frozen=True):
    """`if`, `with` or `range`: `otherwise` is None without an `else`."""

    pipeline: Pipeline
    body: Body
    otherwise: Body | None


class If(Branch, frozen=True):
    pass


class With(Branch, frozen=True):
    pass


class Range(Branch, frozen=True):
    pass


class Break(Node, frozen=True):
    pass


class Continue(Node, frozen=True):
    pass


class Call(Node, frozen=True):
    """`{{ template "name" pipeline }}`, and what a `block` leaves at its place."""

    name: str
    pipeline: Pipeline | None

    def __str__(self) -> str:
        # repr() of a str is close to Go's quoting, and this is only ever shown to a person.
        name = '"' + self.name.replace('"', '\\"') + '"'
        return f"{{{{template {name}{f' {self.pipeline}' if self.pipeline else ''}}}}}"


Statement: TypeAlias = Text | Action | If | With | Range | Break | Continue | Call
Body: TypeAlias = tuple[Statement, ...]


class Template(Struct, frozen=True):
    """A named body, and the text and the name of the file it was parsed from."""

    name: str
    body: Body
    text: str
    file: str

    @property
    def is_blank(self) -> bool:
        """Nothing but white space: such a definition does not replace another."""
        return all(isinstance(node, Text) and not node.text.strip() for node in self.body)
