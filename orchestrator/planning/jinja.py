"""The `jinja2` engine: Jinja templates in a sandbox, with `options` and `now` in scope.

An undefined name is an error. The sandbox denies templates access to Python's internals. Jinja does
not limit time and memory, so loops, texts and numbers are bounded here.
"""

from __future__ import annotations

import base64
import hashlib
import json
import posixpath
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, wraps
from types import CodeType
from typing import Any, NoReturn

from jinja2 import StrictUndefined, TemplateSyntaxError, Undefined, nodes
from jinja2.exceptions import TemplateError as JinjaError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from orchestrator.formats import yaml12
from orchestrator.helm.errors import FunctionError
from tasks.errors import SpecProblems, TemplateError


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one template. `steps` are loop iterations plus calls of macros."""

    output_chars: int = 4_000_000
    text_chars: int = 1_000_000
    steps: int = 200_000
    number_bits: int = 4_096


def render(
    text: str,
    options: Mapping[str, Any],
    *,
    name: str,
    now: datetime | None = None,
    limits: Limits = Limits(),
) -> str:
    """`text` rendered; TemplateError has the file (`name`), the line and the reason."""
    code = compiled(text, name)
    environment = _Environment(limits)
    try:
        template = environment.template_class.from_code(
            environment, code, environment.make_globals(None)
        )
        return environment.bounded(template.generate(options=dict(options), now=now))
    except _TooMuch as error:
        raise TemplateError(str(error), _TOO_MUCH, name, _line(error)) from error
    except RecursionError as error:
        raise TemplateError("macro recursion is too deep", _TOO_MUCH, name) from error
    except (JinjaError, *_VALUE_ERRORS) as error:
        raise TemplateError(str(error), _hint(error), name, _line(error)) from error


@lru_cache(maxsize=256)
def compiled(text: str, name: str) -> CodeType:
    """`text` as code; TemplateError if it does not parse."""
    try:
        return _Environment(Limits()).compile(text)
    except TemplateSyntaxError as error:
        raise TemplateError(error.message or "syntax error", "", name, error.lineno) from error
    except RecursionError as error:
        raise TemplateError("nested too deeply", _TOO_MUCH, name) from error


_VALUE_ERRORS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
    SpecProblems,
    FunctionError,
)
_TOO_MUCH = "templates are for names and commands; do this in a hook"


class _TooMuch(Exception):
    """A limit was exceeded."""


def _line(error: BaseException) -> int:
    """The line of the template where `error` was raised, from its traceback."""
    line, trace = 0, error.__traceback__
    while trace:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _hint(error: BaseException) -> str:
    if "is undefined" in str(error) or "has no attribute" in str(error):
        return "set it as an option, or write `options.name | default('...')`"
    return ""


# --- The sandbox ---------------------------------------------------------------------------------


class _Environment(ImmutableSandboxedEnvironment):
    """A sandbox that also limits the time and memory of templates."""

    intercepted_binops = frozenset(("+", "*", "**", "%", "//", "/", "-"))

    def __init__(self, limits: Limits) -> None:
        super().__init__(undefined=StrictUndefined, keep_trailing_newline=True)
        self.limits = limits
        self.steps = 0
        self.__dict__["concat"] = self.bounded  # joins blocks and macros
        self.globals.pop("lipsum", None)
        self.globals["range"] = self.bounded_range
        self.filters.update(FILTERS)
        self.filters = {name: self.guarded(item) for name, item in self.filters.items()}

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        """Count every loop iteration and every call of a macro as a step, and make every `~` a
        bounded join."""
        tree = super()._parse(source, name, filename)
        loops: Any = tree.find_all((nodes.For, nodes.Macro, nodes.CallBlock))
        for loop in loops:
            loop.body.insert(0, self._call("step", [], loop.lineno, nodes.ExprStmt))
        for concat in tree.find_all(nodes.Concat):
            joined = self._call("join", concat.nodes, concat.lineno)
            concat.nodes = [joined]
        return tree

    def _call(
        self, method: str, args: list[nodes.Expr], line: int, within: type | None = None
    ) -> Any:
        attribute = nodes.EnvironmentAttribute(method, lineno=line)
        call = nodes.Call(attribute, args, [], None, None, lineno=line)
        return within(call, lineno=line) if within else call

    def step(self) -> None:
        self.steps += 1
        if self.steps > self.limits.steps:
            self.too_much(f"more than {self.limits.steps} loop iterations")

    def join(self, *parts: Any) -> str:
        return self.bounded(str(part) for part in parts)

    def bounded(self, parts: Iterable[str]) -> str:
        """`parts` joined, up to the limit of the output."""
        taken, size = [], 0
        for part in parts:
            size += len(part)
            if size > self.limits.output_chars:
                self.too_much(f"more than {self.limits.output_chars} characters of output")
            taken.append(part)
        return "".join(taken)

    def bounded_range(self, *args: int) -> range:
        numbers = range(*args)
        if len(numbers) > self.limits.steps:
            self.too_much(f"a range of more than {self.limits.steps} numbers")
        return numbers

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "%" and isinstance(left, str):
            self.check_format(left)
        if operator in "**":
            self.check_product(operator, left, right)
        return self.checked(super().call_binop(context, operator, left, right))

    def check_product(self, operator: str, left: Any, right: Any) -> None:
        if operator == "**" and isinstance(right, int) and abs(right) > self.limits.number_bits:
            self.too_much("a number too large")
        for value, times in ((left, right), (right, left)):
            long = isinstance(value, str | list | tuple) and isinstance(times, int)
            if long and len(value) * times > self.limits.text_chars:
                self.too_much(f"more than {self.limits.text_chars} characters or items")

    def check_format(self, text: str) -> None:
        if re.search(r"\d{5,}|\*", text):
            self.too_much("a format wider than 9999 characters")

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        if isinstance(text := getattr(value, "__self__", None), str):
            self.check_format(text)
        return super().wrap_str_format(value)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        owner = getattr(__obj, "__self__", None)
        if isinstance(owner, str):
            __self.check_method(__obj.__name__, owner, args)
        return __self.checked(super().call(__context, __obj, *args, **kwargs))

    def check_method(self, name: str, text: str, args: tuple[Any, ...]) -> None:
        self.check_numbers(args)
        if name == "replace" and len(args) >= 2:
            self.check_replace(text, args[0], args[1])
        if name == "join" and args:
            self.check_join(text, args[0])

    def check_numbers(self, values: Iterable[Any]) -> None:
        for value in values:
            if isinstance(value, int) and abs(value) > self.limits.text_chars:
                self.too_much(f"a width or count of {value}")

    def check_replace(self, text: str, old: Any, new: Any) -> None:
        if text.count(str(old)) * len(str(new)) > self.limits.text_chars:
            self.too_much(f"more than {self.limits.text_chars} characters of text")

    def check_join(self, separator: str, items: Any) -> None:
        if hasattr(items, "__len__") and len(items) * len(separator) > self.limits.text_chars:
            self.too_much(f"more than {self.limits.text_chars} characters of text")

    def checked(self, value: Any) -> Any:
        """`value`; an error if it is too large."""
        if isinstance(value, str | list | tuple) and len(value) > self.limits.text_chars:
            self.too_much(f"more than {self.limits.text_chars} characters or items")
        if isinstance(value, int) and value.bit_length() > self.limits.number_bits:
            self.too_much("a number too large")
        return value

    def guarded(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A filter that checks its arguments and its result."""

        @wraps(function)
        def guard(*args: Any, **kwargs: Any) -> Any:
            self.check_numbers((*args, *kwargs.values()))
            texts = [arg for arg in args if isinstance(arg, str)]
            if function.__name__ == "do_replace" and len(texts) >= 3:
                self.check_replace(*texts[:3])
            if function.__name__ == "do_format" and texts:
                self.check_format(texts[0])
            if function.__name__ == "sync_do_join" and texts:
                self.check_join(texts[-1], args[-2])
            return self.checked(function(*args, **kwargs))

        return guard

    def too_much(self, what: str) -> NoReturn:
        raise _TooMuch(f"template limit exceeded: {what}")


# --- Filters in addition to Jinja's --------------------------------------------------------------


def _date(moment: datetime, layout: str = "%Y-%m-%d") -> str:
    return moment.strftime(layout)


def _required(value: Any, message: str) -> Any:
    if value is None or value == "" or isinstance(value, Undefined):
        raise ValueError(message)
    return value


def _to_yaml(value: Any) -> str:
    from orchestrator.formats.yamltext import yaml_text

    return yaml_text(value)


def _from_yaml(text: str) -> Any:
    return yaml12.plain(yaml12.load(text, "from_yaml"))


def _regex_match(text: str, pattern: str) -> bool:
    from orchestrator.helm.functions.regex import must_regex_match

    return must_regex_match(pattern, text)


def _regex_find(text: str, pattern: str) -> str:
    from orchestrator.helm.functions.regex import regex_find

    return regex_find(pattern, text)


def _semver_compare(version: str, constraint: str) -> bool:
    from orchestrator.helm.functions.semver import semver_compare

    return semver_compare(constraint, version)


def _digest(algorithm: str) -> Callable[[str], str]:
    return lambda text: hashlib.new(algorithm, text.encode()).hexdigest()


def _indented(text: str, width: int = 4) -> str:
    return "\n" + "\n".join(" " * width + line for line in text.split("\n"))


FILTERS: dict[str, Callable[..., Any]] = {
    "b64decode": lambda text: base64.b64decode(text).decode(),
    "b64encode": lambda text: base64.b64encode(text.encode()).decode(),
    "basename": posixpath.basename,
    "date": _date,
    "dirname": posixpath.dirname,
    "from_json": json.loads,
    "from_yaml": _from_yaml,
    "nindent": _indented,
    "quote": shlex.quote,
    "regex_find": _regex_find,
    "regex_match": _regex_match,
    "required": _required,
    "semver_compare": _semver_compare,
    "sha256": _digest("sha256"),
    "sha512": _digest("sha512"),
    "to_json": lambda value: json.dumps(value, ensure_ascii=False, default=str),
    "to_yaml": _to_yaml,
    "trim_prefix": lambda text, prefix: text.removeprefix(prefix),
    "trim_suffix": lambda text, suffix: text.removesuffix(suffix),
}
