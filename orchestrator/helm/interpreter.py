"""Executes a parsed template: walks its statements and writes their output.

The rules are those of Go's text/template with the option `missingkey=zero`, as Helm sets it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from orchestrator.helm import ast
from orchestrator.helm.errors import FunctionError, LimitReached, SyntaxProblem
from orchestrator.helm.evaluator import Evaluator
from orchestrator.helm.limits import Budget
from orchestrator.helm.parser import parse
from orchestrator.helm.places import failure
from orchestrator.helm.printing import to_text
from orchestrator.helm.signature import Function
from orchestrator.helm.values import NO_VALUE, sorted_keys, truth
from tasks.errors import TemplateError

if TYPE_CHECKING:
    from orchestrator.helm.gotime import Time

TEXT_NAME = "gotpl"  # Helm's name of a text passed to `tpl`
NOTHING_PRINTED = "<no value>"  # printed by Go for nothing, and removed by Helm


class BreakLoop(Exception):
    pass


class ContinueLoop(Exception):
    pass


@dataclass(slots=True)
class Output:
    """The output so far."""

    budget: Budget
    pieces: list[str] = field(default_factory=list)
    size: int = 0

    def write(self, text: str) -> None:
        self.size += len(text)
        self.budget.reserve(self.size if self.size > self.budget.limits.size else len(text))
        self.pieces.append(text)

    def text(self) -> str:
        return "".join(self.pieces)


@dataclass(frozen=True, slots=True)
class Run:
    """One rendering: the state shared by all its templates."""

    templates: Mapping[str, ast.Template]
    functions: Mapping[str, Function]
    budget: Budget
    now: Time

    def execute(self, template: ast.Template, data: object) -> str:
        """The output of `template` with `data` as the dot."""
        output = Output(self.budget)
        self.enter(template, NO_VALUE if data is None else data, output)
        return output.text()

    def enter(self, template: ast.Template, dot: object, output: Output) -> None:
        depth = self.budget.depth
        if depth >= self.budget.limits.depth:
            raise LimitReached(
                f"more than {depth} templates call each other",
                f'does "{template.name}" call itself endlessly?',
            )
        self.budget.depth += 1
        Interpreter(self, template, dot, output).walk(dot, template.body)
        self.budget.depth = depth

    def render_text(self, text: str, data: object) -> str:
        """Render `text`, made by a template, as a template. Its definitions are known only
        inside it."""
        try:
            defined = parse(text, TEXT_NAME, self.functions, file=TEXT_NAME)
        except SyntaxProblem as problem:
            message = f"cannot parse the text as a template: {problem.message}"
            raise FunctionError(message, problem.hint) from problem
        known = {**self.templates, **kept(defined, self.templates)}
        inner = replace(self, templates=known)
        try:
            return inner.execute(defined[TEXT_NAME], data).replace(NOTHING_PRINTED, "")
        except TemplateError as error:
            if error.file != TEXT_NAME:
                raise
            raise FunctionError(f"in the text: {error}", error.hint) from error


def kept(
    defined: Mapping[str, ast.Template], known: Mapping[str, ast.Template]
) -> dict[str, ast.Template]:
    """The definitions to add: a blank one replaces none."""
    return {
        name: template
        for name, template in defined.items()
        if not (template.is_blank and name in known)
    }


class Interpreter(Evaluator):
    """One execution of one template."""

    def __init__(self, run: Run, template: ast.Template, dot: object, output: Output) -> None:
        super().__init__(run, template, dot)
        self.output = output

    def walk(self, dot: object, body: ast.Body) -> None:
        for node in body:
            try:
                self.run.budget.step()
                self.statement(dot, node)
            except (FunctionError, LimitReached) as error:
                raise failure(self.template, node, str(error), error.hint) from error

    def statement(self, dot: object, node: ast.Statement) -> None:
        match node:
            case ast.Text():
                self.output.write(node.text)
            case ast.Action():
                self.action(dot, node)
            case ast.If() | ast.With():
                self.branch(dot, node)
            case ast.Range():
                self.range(dot, node)
            case ast.Call():
                self.template_call(dot, node)
            case ast.Break():
                raise BreakLoop
            case ast.Continue():
                raise ContinueLoop

    def action(self, dot: object, node: ast.Action) -> None:
        value = self.pipeline(dot, node.pipeline)
        if node.pipeline.variables:
            return
        if isinstance(value, list | dict):
            self.run.budget.measure(value)
        self.output.write(to_text(value))

    def branch(self, dot: object, node: ast.If | ast.With) -> None:
        outside = len(self.variables)
        value = self.pipeline(dot, node.pipeline)
        if truth(value):
            self.walk(value if isinstance(node, ast.With) else dot, node.body)
        elif node.otherwise:
            self.walk(dot, node.otherwise)
        del self.variables[outside:]

    def template_call(self, dot: object, node: ast.Call) -> None:
        template = self.run.templates.get(node.name)
        if template is None:
            self.fail(node, f'template "{node.name}" not defined')
        data = self.pipeline(dot, node.pipeline) if node.pipeline else NO_VALUE
        self.run.enter(template, data, self.output)

    # Loops

    def range(self, dot: object, node: ast.Range) -> None:
        outside = len(self.variables)
        entries = self.entries(node, self.pipeline(dot, node.pipeline))
        inside = len(self.variables)
        ran = False
        try:
            for index, element in entries:
                ran = True
                self.iterate(node, index, element)
                del self.variables[inside:]
        except BreakLoop:
            pass
        if not ran and node.otherwise:
            self.walk(dot, node.otherwise)
        del self.variables[outside:]

    def iterate(self, node: ast.Range, index: object, element: object) -> None:
        self.run.budget.step()
        variables = node.pipeline.variables
        values = (index, element) if len(variables) == 2 else (element,)
        if node.pipeline.assigns:
            for variable, value in zip(variables, values, strict=True):
                self.assign(variable, value)
        else:
            top = len(self.variables)
            self.variables[top - len(variables) :] = [
                (variable.name, value) for variable, value in zip(variables, values, strict=False)
            ]
        with suppress(ContinueLoop):
            self.walk(element, node.body)

    def entries(self, node: ast.Range, value: object) -> Iterable[tuple[object, object]]:
        """The pairs of a range: indices and elements, or keys and values in order."""
        if value is NO_VALUE or value is None:
            return ()
        if isinstance(value, list):
            return enumerate(list(value))
        if isinstance(value, dict):
            return [(key, value[key]) for key in sorted_keys(value)]
        if not isinstance(value, int) or isinstance(value, bool):
            raise failure(
                self.template, node.pipeline, f"range can't iterate over {to_text(value)}"
            )
        if len(node.pipeline.variables) > 1:
            self.fail(node, f"can't use {value} to iterate over more than one variable")
        make = type(value)
        return ((NO_VALUE, make(count)) for count in range(value))
