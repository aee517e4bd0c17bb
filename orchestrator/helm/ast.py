"""The nodes of a parsed template. `str(node)` is its source text."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct


class Node(Struct, frozen=True):
    """`pos` is the index of the node's first character in the text, from 0."""

    pos: int


# Operands: the parts of a command.


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
    """A constant, with its value in each type that can hold it exactly, else None."""

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
    """`(...).a.b`: fields of another operand's value."""

    operand: Operand
    names: tuple[str, ...]

    def __str__(self) -> str:
        return ".".join((in_command(self.operand), *self.names))


class Command(Node, frozen=True):
    """`f a b`: the first operand, called with the others as arguments."""

    operands: tuple[Operand, ...]

    def __str__(self) -> str:
        return " ".join(in_command(operand) for operand in self.operands)


class Pipeline(Node, frozen=True):
    """`$x := a | b`: commands, each called with the result of the one before; then assigned."""

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


# Statements: the parts of a template.


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
    """`{{ template "name" pipeline }}`, also where a `block` is defined."""

    name: str
    pipeline: Pipeline | None

    def __str__(self) -> str:
        # repr() of a str is close to Go's quoting; this is only used in messages.
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
        """Whether it is only white space: such a definition does not replace another."""
        return all(isinstance(node, Text) and not node.text.strip() for node in self.body)
