"""Positions in templates, and errors at them."""

from __future__ import annotations

from orchestrator.helm import ast
from tasks.errors import TemplateError

LONGEST_EXPRESSION = 120


def place(text: str, pos: int) -> tuple[int, int]:
    """Line and column of character `pos`, both counted from 1."""
    return text.count("\n", 0, pos) + 1, pos - text.rfind("\n", 0, pos)


def failure(template: ast.Template, node: ast.Node, message: str, hint: str = "") -> TemplateError:
    line, column = place(template.text, node.pos)
    expression = str(node)
    if len(expression) > LONGEST_EXPRESSION:
        expression = expression[:LONGEST_EXPRESSION] + "..."
    return TemplateError(message, hint, template.file, line, column, expression)
