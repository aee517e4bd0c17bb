"""One rendering from beginning to end, with the values Helm's renderer puts in scope."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache

from orchestrator.helm import ast
from orchestrator.helm.errors import FunctionError, SyntaxProblem
from orchestrator.helm.functions import FUNCTIONS
from orchestrator.helm.gotime import Time
from orchestrator.helm.interpreter import NOTHING_PRINTED, Run
from orchestrator.helm.limits import Budget, Limits
from orchestrator.helm.parser import parse
from orchestrator.helm.places import place
from orchestrator.helm.scope import scope
from tasks.errors import TemplateError

DEFAULT_LIMITS = Limits()
FRAMES_PER_TEMPLATE = 40  # of Python's stack, for one template that calls another


def render(
    text: str,
    options: Mapping[str, object],
    *,
    name: str,
    now: datetime | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> str:
    """What the template `text` gives with `options` as `.Values`.

    `name` is what errors call the text; `now` is what the function of that name gives, by default
    this moment. Raises `TemplateError` with the place of what is wrong.
    """
    templates = parsed(text, name)
    moment = Time.of(now) if now else Time.now()
    run = Run(templates, FUNCTIONS, Budget(limits), moment)
    with room_for(limits.depth):
        try:
            return run.execute(templates[name], scope(options)).replace(NOTHING_PRINTED, "")
        except FunctionError as error:
            raise TemplateError(str(error), error.hint, name) from error
        except RecursionError as error:
            raise TemplateError("the template nests too deep", "", name) from error


@lru_cache(maxsize=256)
def parsed(text: str, name: str) -> Mapping[str, ast.Template]:
    try:
        return parse(text, name, FUNCTIONS)
    except SyntaxProblem as problem:
        line, column = place(text, problem.pos)
        raise TemplateError(problem.message, problem.hint, name, line, column) from problem


@contextmanager
def room_for(depth: int) -> Iterator[None]:
    """A Python stack deep enough for so many templates inside each other."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, depth * FRAMES_PER_TEMPLATE + 2000))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)
