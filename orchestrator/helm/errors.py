"""What can go wrong inside the template language, before it is told to a person.

`render` turns each of these into one `tasks.errors.TemplateError` with a place.
"""

from __future__ import annotations


class SyntaxProblem(Exception):
    """`SyntaxProblem(message, pos, hint="")`: the text at character `pos` does not parse."""

    @property
    def message(self) -> str:
        return str(self.args[0])

    @property
    def pos(self) -> int:
        return int(self.args[1])

    @property
    def hint(self) -> str:
        return str(self.args[2]) if len(self.args) > 2 else ""


class FunctionError(Exception):
    """`FunctionError(message, hint="")`: a function refuses its arguments."""

    @property
    def hint(self) -> str:
        return str(self.args[1]) if len(self.args) > 1 else ""

    def __str__(self) -> str:
        return str(self.args[0])


class Refusal(FunctionError):
    """The template itself said no, with `fail` or `required`: its words are the whole message."""


class NotJson(Exception):
    """`NotJson(message)`: a value has no JSON, or a text is none."""


class LimitReached(Exception):
    """`LimitReached(message, hint="")`: the template does more than a template may."""

    @property
    def hint(self) -> str:
        return str(self.args[1]) if len(self.args) > 1 else ""

    def __str__(self) -> str:
        return str(self.args[0])
