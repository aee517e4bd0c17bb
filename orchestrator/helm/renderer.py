"""Renders a template with the values that Helm's renderer puts in scope."""

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
from orchestrator.helm.scope import NAME, scope
from tasks.errors import TemplateError

DEFAULT_LIMITS = Limits()
FRAMES_PER_TEMPLATE = 40  # of Python's stack, for each template that calls another
FRAMES_TO_PARSE = 10_000


def render(
    text: str,
    options: Mapping[str, object],
    *,
    name: str,
    now: datetime | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> str:
    """Render the template `text` with `options` as `.Values`.

    `name` is the name of the text in errors; `now` is the value of the function of that name, by
    default the current time. Raises `TemplateError` with the position of the error.
    """
    with room_for(limits.depth):
        templates = parsed(text, name)
        now_time = Time.of(now) if now else Time.now()
        run = Run(templates, FUNCTIONS, Budget(limits), now_time)
        try:
            rendered = run.execute(templates[NAME], scope(options))
        except FunctionError as error:
            raise TemplateError(str(error), error.hint, name, 1, 1) from error
        except RecursionError as error:
            raise TemplateError("the template is nested too deeply", "", name, 1, 1) from error
    return rendered.replace(NOTHING_PRINTED, "")


@lru_cache(maxsize=256)
def parsed(text: str, file: str) -> Mapping[str, ast.Template]:
    """The templates in `text`; the same text is parsed once."""
    try:
        text.encode("utf-8", "surrogateescape")
        return parse(text, NAME, FUNCTIONS, file=file)
    except SyntaxProblem as problem:
        line, column = place(text, problem.pos)
        raise TemplateError(problem.message, problem.hint, file, line, column) from problem
    except UnicodeEncodeError as error:
        line, column = place(text, error.start)
        raise TemplateError("this character is not Unicode", "", file, line, column) from error


@contextmanager
def room_for(depth: int) -> Iterator[None]:
    """A Python stack deep enough for so many nested templates."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, depth * FRAMES_PER_TEMPLATE + FRAMES_TO_PARSE))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)
