"""Evaluates the pipelines of a template: operands, fields, and calls of functions.

As in Go, there are two kinds of nothing: None is a nil in a map or from a function, and reading a
field of it is an error; a pipeline turns it into `NO_VALUE`, whose fields are `NO_VALUE` again. So
`.a.b` fails where `(.a).b` does not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from orchestrator.helm import ast
from orchestrator.helm.errors import FunctionError, Refusal
from orchestrator.helm.fields import NoSuchField, field_of, method_of
from orchestrator.helm.places import failure
from orchestrator.helm.signature import Function, Parameter, Signature, describe, signature_of
from orchestrator.helm.values import NO_VALUE, NoValue, truth

if TYPE_CHECKING:
    from orchestrator.helm.interpreter import Run

ABSENT = object()  # what is piped into the first command of a pipeline
CONSTANTS = (ast.Bool, ast.Number, ast.String)
Owner: TypeAlias = ast.Field | ast.Chain | ast.Variable  # what fields are taken from

# Python's errors where Go's functions panic, which also fails the call.
PANICS = (ArithmeticError, FunctionError, LookupError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class Given:
    """The arguments of a command: its operands, and the value piped into it."""

    operands: Sequence[ast.Operand] = ()
    final: object = ABSENT

    @property
    def is_piped(self) -> bool:
        return self.final is not ABSENT

    def __len__(self) -> int:
        return len(self.operands) + self.is_piped


NOTHING_GIVEN = Given()


@dataclass(frozen=True, slots=True)
class Callee:
    """A function, or a method with its receiver."""

    name: str
    function: Function
    receiver: tuple[object, ...] = ()


class Evaluator:
    """Evaluates one execution of one template; has its variables."""

    def __init__(self, run: Run, template: ast.Template, dot: object) -> None:
        self.run = run
        self.template = template
        self.variables: list[tuple[str, object]] = [("$", dot)]

    def fail(self, node: ast.Node, message: str, hint: str = "") -> NoReturn:
        raise failure(self.template, node, message, hint)

    # Variables: of several with the same name, the last one is used.

    def place_of(self, node: ast.Variable) -> int:
        for index in range(len(self.variables) - 1, -1, -1):
            if self.variables[index][0] == node.name:
                return index
        raise failure(self.template, node, f"undefined variable {node.name}")

    def assign(self, node: ast.Variable, value: object) -> None:
        self.variables[self.place_of(node)] = (node.name, value)

    # Pipelines

    def pipeline(self, dot: object, node: ast.Pipeline) -> object:
        value: object = ABSENT
        for command in node.commands:
            self.run.budget.step()
            value = self.command(dot, command, value)
            if value is None:
                value = NO_VALUE
        for variable in node.variables:
            if node.assigns:
                self.assign(variable, value)
            else:
                self.variables.append((variable.name, value))
        return value

    def command(self, dot: object, node: ast.Command, final: object) -> object:
        first = node.operands[0]
        given = Given(node.operands[1:], final)
        match first:
            case ast.Identifier():
                return self.function(dot, first, node, given)
            case ast.Field() | ast.Chain():
                return self.chain(dot, self.base(dot, first), first, first.names, given)
            case ast.Variable() if first.fields:
                return self.chain(dot, self.base(dot, first), first, first.fields, given)
        if len(given):
            self.fail(first, f"can't give argument to non-function {first}")
        if isinstance(first, ast.Nil):
            self.fail(first, "nil is not a command")
        return self.operand(dot, first)

    def operand(self, dot: object, node: ast.Operand) -> object:
        """The value of an operand without arguments."""
        return EVALUATE[type(node)](self, dot, node)

    def constant_value(self, _: object, node: ast.Bool | ast.String) -> object:
        return node.value

    def bare_function(self, dot: object, node: ast.Identifier) -> object:
        return self.function(dot, node, node, NOTHING_GIVEN)

    def fields(self, dot: object, node: ast.Field | ast.Chain) -> object:
        return self.chain(dot, self.base(dot, node), node, node.names)

    def variable(self, dot: object, node: ast.Variable) -> object:
        value = self.base(dot, node)
        return self.chain(dot, value, node, node.fields) if node.fields else value

    def number(self, _: object, node: ast.Number) -> object:
        """A constant of the type that its own form has: an int, a float64, a complex128."""
        text = node.text
        if node.imaginary is not None:
            return node.imaginary
        is_hex = text[:2] in ("0x", "0X") and not any(sign in text for sign in "pP")
        looks_real = text[0] != "'" and not is_hex and any(sign in text for sign in ".eEpP")
        if node.real is not None and looks_real:
            return node.real
        if node.integer is None:
            self.fail(node, f"{text} overflows int")
        return node.integer

    # Fields

    def base(self, dot: object, node: Owner) -> object:
        """The value whose fields `node` reads."""
        if isinstance(node, ast.Variable):
            return self.variables[self.place_of(node)][1]
        if isinstance(node, ast.Field):
            return dot
        if isinstance(node.operand, ast.Nil):
            self.fail(node, f"indirection through explicit nil in {node}")
        return self.operand(dot, node.operand)

    def chain(
        self,
        dot: object,
        receiver: object,
        node: Owner,
        names: Sequence[str],
        given: Given = NOTHING_GIVEN,
    ) -> object:
        """`.a.b.c` of `receiver`; the last one gets the arguments, if it is a method."""
        for name in names[:-1]:
            receiver = self.field(dot, receiver, node, name, NOTHING_GIVEN)
        return self.field(dot, receiver, node, names[-1], given)

    def field(self, dot: object, receiver: object, node: Owner, name: str, given: Given) -> object:
        if isinstance(receiver, NoValue):
            return NO_VALUE
        if receiver is None:
            self.fail(node, *nothing_there(node, name))
        method = method_of(receiver, name)
        if method:
            return self.call(dot, Callee(name, method, (receiver,)), node, given)
        try:
            value = field_of(receiver, name)
        except NoSuchField:
            self.fail(node, f"can't evaluate field {name}: {describe(receiver)} has none")
        if len(given):
            self.fail(node, f"{name} is not a method but has arguments")
        return value

    # Calls

    def function(self, dot: object, node: ast.Identifier, whole: ast.Node, given: Given) -> object:
        if node.name in ("and", "or"):
            return self.short_circuit(dot, node, given)
        return self.call(dot, Callee(node.name, self.run.functions[node.name]), whole, given)

    def short_circuit(self, dot: object, node: ast.Identifier, given: Given) -> object:
        """`and` and `or` evaluate no more than they need, and return the deciding value."""
        if not len(given):
            self.fail(node, f"wrong number of args for {node.name}: want at least 1 got 0")
        value: object = None
        for operand in given.operands:
            value = self.operand(dot, operand)
            if truth(value) == (node.name == "or"):
                return value
        return given.final if given.is_piped else value

    def call(self, dot: object, callee: Callee, node: ast.Node, given: Given) -> object:
        signature = signature_of(callee.function)
        complaint = signature.complaint(callee.name, len(given))
        if complaint:
            self.fail(node, complaint)
        arguments = self.arguments(dot, signature, node, given)
        run = (self.run,) if signature.wants_run else ()
        try:
            result = callee.function(*run, *callee.receiver, *arguments)
        except PANICS as error:
            self.refuse(node, callee.name, error)
        if isinstance(result, str):
            self.run.budget.reserve(len(result))
        elif isinstance(result, list | dict):
            self.run.budget.reserve_items(len(result))
        return result

    def arguments(
        self, dot: object, signature: Signature, node: ast.Node, given: Given
    ) -> list[object]:
        values = [
            self.argument(dot, signature.parameter(index), operand)
            for index, operand in enumerate(given.operands)
        ]
        if given.is_piped:
            values.append(self.fit(given.final, signature.parameter(len(values)), node))
        return values

    def argument(self, dot: object, parameter: Parameter, node: ast.Operand) -> object:
        if isinstance(node, CONSTANTS) and not parameter.takes_all:
            return self.typed_constant(parameter, node)
        if isinstance(node, ast.Nil):
            if not parameter.nilable:
                self.fail(node, f"cannot assign nil to {parameter.go_type}")
            return parameter.zero()
        return self.fit(self.operand(dot, node), parameter, node)

    def typed_constant(
        self, parameter: Parameter, node: ast.Bool | ast.Number | ast.String
    ) -> object:
        value = parameter.constant(node) if isinstance(node, ast.Number) else node.value
        if value is None or not parameter.accepts(value):
            self.fail(node, f"expected {parameter.wanted}; found {node}")
        return value

    def fit(self, value: object, parameter: Parameter, node: ast.Node) -> object:
        """`value` if a parameter of that type accepts it."""
        if isinstance(value, NoValue) and parameter.nilable:
            return parameter.zero()
        if not parameter.accepts(value):
            message = f"wrong type for value; expected {parameter.wanted}; got {describe(value)}"
            self.fail(node, message, conversion_hint(value, parameter))
        return value

    def refuse(self, node: ast.Node, name: str, error: Exception) -> NoReturn:
        hint = error.hint if isinstance(error, FunctionError) else ""
        message = str(error) if isinstance(error, Refusal) else f"error calling {name}: {error}"
        raise failure(self.template, node, message, hint) from error


EVALUATE: Mapping[type, Callable[[Any, object, Any], object]] = {
    ast.Dot: lambda _, dot, __: dot,
    ast.Nil: lambda _, __, ___: None,
    ast.Bool: Evaluator.constant_value,
    ast.String: Evaluator.constant_value,
    ast.Number: Evaluator.number,
    ast.Field: Evaluator.fields,
    ast.Chain: Evaluator.fields,
    ast.Variable: Evaluator.variable,
    ast.Pipeline: Evaluator.pipeline,
    ast.Identifier: Evaluator.bare_function,
}


def nothing_there(node: Owner, name: str) -> tuple[str, str]:
    """The message and the hint for reading the field `name` of nothing."""
    owner = str(node).rsplit(f".{name}", 1)[0] or "."
    message = f'"{owner}" is not set, so it has no "{name}" (nil pointer evaluating .{name})'
    return message, f"set it as an option, or write ({owner}).{name} to allow that"


CONVERSIONS = {"string": "toString", "int": "int", "int64": "int64", "float64": "float64"}


def conversion_hint(value: object, parameter: Parameter) -> str:
    if value is None or isinstance(value, NoValue):
        return "is the option set? To set a default: `default ...`"
    conversion = CONVERSIONS.get(parameter.go_type)
    return f"convert it with `{conversion}`" if conversion else ""
