"""Errors inside the template language.

`render` turns each of these into a `tasks.errors.TemplateError` with a position.
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
    """`FunctionError(message, hint="")`: a function does not accept its arguments."""

    @property
    def hint(self) -> str:
        return str(self.args[1]) if len(self.args) > 1 else ""

    def __str__(self) -> str:
        return str(self.args[0])


class Refusal(FunctionError):
    """An error raised by the template with `fail` or `required`: its text is the whole message."""


class NotJson(Exception):
    """`NotJson(message)`: a value has no JSON form, or a text is not JSON."""


class LimitReached(Exception):
    """`LimitReached(message, hint="")`: the template exceeds a limit."""

    @property
    def hint(self) -> str:
        return str(self.args[1]) if len(self.args) > 1 else ""

    def __str__(self) -> str:
        return str(self.args[0])
