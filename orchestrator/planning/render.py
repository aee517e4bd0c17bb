"""Renders a job with its options: every template filled in, every path absolute.

Templates are the fields that `formats.spec` marks as such, for example `source.uri` and
`output.name`, and each hook file as a whole before it is parsed. Nothing here reads the clock:
`now` is passed in, so that it is the same in all parts of a build.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

from orchestrator.formats.reader import Document, did_you_mean, fields_of, nearest, read_text
from orchestrator.formats.spec import Engine, Hookfile, Job, Specfile, find_job, parse_hookfile
from orchestrator.formats.yaml12 import Scalar
from tasks.errors import BadInput, Problem, SpecProblems, TemplateError

Overrides: TypeAlias = Mapping[str, Any]

_ENGINES = {Engine.HELM: "orchestrator.helm", Engine.JINJA2: "orchestrator.planning.jinja"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedHookfile:
    """`name` is the file as the job lists it, `path` its absolute path."""

    name: str
    path: Path
    content: Hookfile


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedJob:
    """`folder` is where the command was run; `specfile` is absolute. `document` and `path` locate
    the job in its file, for problems found later."""

    job: Job
    hook_files: tuple[RenderedHookfile, ...]
    specfile: Path
    folder: Path
    now: datetime
    document: Document[Specfile]
    path: str

    def problem(self, key: str, message: str, hint: str = "") -> Problem:
        """A problem with `key` of the job, such as `source.uri`."""
        return self.document.problem(f"{self.path}.{key}", message, hint)


def render_job(
    document: Document[Specfile],
    name: str,
    *,
    overrides: Overrides,
    now: datetime,
    folder: Path,
) -> RenderedJob:
    """Job `name` of `document`, rendered with its options under `overrides`.

    Raises TemplateError if one template fails, SpecProblems if there are more problems, each with
    its position in the specfile or the hook file.
    """
    number, job = find_job(document, name)
    renderer = _Renderer(document, f"jobs[{number}]", merge(job.options, overrides), now)
    specfile = Path(os.path.normpath(folder / document.file))
    rendered = renderer.job(job, specfile.parent)
    hook_files = renderer.hook_files(job, specfile.parent)
    renderer.raise_errors()
    return RenderedJob(
        job=rendered,
        hook_files=hook_files,
        specfile=specfile,
        folder=folder,
        now=now,
        document=document,
        path=renderer.path,
    )


def merge(options: Mapping[str, Any], overrides: Overrides) -> dict[str, Any]:
    """`options` with `overrides` merged in, recursively; both arguments are unchanged."""
    merged = dict(options)
    for key, value in overrides.items():
        old = merged.get(key)
        deeper = isinstance(old, dict) and isinstance(value, Mapping)
        merged[key] = merge(old or {}, value) if deeper else value
    return merged


def render_hook_file(
    file: Path, options: dict[str, Any], engine: Engine, now: datetime
) -> Document[Hookfile]:
    """A hook file on its own, rendered with `options`."""
    text = read_text(file, "hook file")
    rendered = _engine(engine)(text, options, name=str(file), now=now)
    return _parse_rendered(text, rendered, str(file))


def check_syntax(text: str, engine: Engine, name: str) -> None:
    """TemplateError if `text` has a syntax error, whatever the options are."""
    if engine is Engine.JINJA2:
        from orchestrator.planning.jinja import compiled

        compiled(text, name)
    else:
        from orchestrator.helm.renderer import parsed

        parsed(text, name)


class _Renderer:
    """Renders the parts of one job, and collects the errors of all of them."""

    def __init__(
        self, document: Document[Specfile], path: str, options: dict[str, Any], now: datetime
    ) -> None:
        self.document = document
        self.path = path
        self.options = options
        self.now = now
        self.errors: list[TemplateError | SpecProblems] = []
        self.engine = _engine(document.value.engine)

    def raise_errors(self) -> None:
        """Raise what was collected: a single error as is, several as one `SpecProblems`."""
        if len(self.errors) == 1:
            raise self.errors[0]
        if self.errors:
            raise SpecProblems(tuple(p for error in self.errors for p in problems_of(error)))

    @contextmanager
    def collecting(self) -> Iterator[None]:
        try:
            yield
        except (TemplateError, SpecProblems) as error:
            self.errors.append(error)

    def template(self, text: str, name: str) -> str:
        return self.engine(text, self.options, name=name, now=self.now)

    def field(self, key: str, text: str) -> str:
        """The rendered value of `key`, such as `source.uri`; `text` itself if that fails."""
        if not text:
            return text
        try:
            return self.template(text, key)
        except TemplateError as error:
            self.errors.append(self.in_specfile(error, f"{self.path}.{key}"))
            return text

    def in_specfile(self, error: TemplateError, path: str) -> TemplateError:
        """`error` with its position in a value mapped to the position in the specfile."""
        node = nearest(self.document.places, path)
        line, column = _place_in(node, error) if isinstance(node, Scalar) else (0, 0)
        message, hint = str(error.args[0]), error.hint
        return TemplateError(
            f"{path}: {message}", hint, self.document.file, line, column, error.expression
        )

    def job(self, job: Job, base: Path) -> Job:
        source, output = self.fields("source", job.source), self.fields("output", job.output)
        return replace(
            job,
            source=replace(source, target=_below(base, source.target))
            if job.source.target
            else source,
            output=replace(output, dir=_below(base, output.dir)) if job.output.dir else output,
            options=self.options,
            workspacedir=_below(base, job.workspacedir),
        )

    def fields(self, name: str, value: Any) -> Any:
        """`value` with those fields rendered that are templates."""
        kind: type = type(value)
        templates = [info.name for info in fields_of(kind) if info.key.rendered]
        rendered = {key: self.field(f"{name}.{key}", getattr(value, key)) for key in templates}
        return replace(value, **rendered)

    def hook_files(self, job: Job, base: Path) -> tuple[RenderedHookfile, ...]:
        folder = base / job.hooks_basedir
        found = []
        for number, name in enumerate(job.hooks_files):
            with self.collecting():
                found.append(self.hook_file(folder, name, f"{self.path}.hooks_files[{number}]"))
        return tuple(found)

    def hook_file(self, folder: Path, name: str, path: str) -> RenderedHookfile:
        file = Path(os.path.normpath(folder / name))
        text = self.read_hook_file(file, path)
        rendered = self.template(text, shown(file))
        content = _parse_rendered(text, rendered, shown(file)).value
        return RenderedHookfile(name=name, path=file, content=content)

    def read_hook_file(self, file: Path, path: str) -> str:
        try:
            return read_text(file, "hook file")
        except BadInput as error:
            hint = error.hint or did_you_mean(file.name, [])
            problem = self.document.problem(path, str(error), hint)
            raise SpecProblems((problem,)) from error


def problems_of(error: BadInput) -> tuple[Problem, ...]:
    """The problems of `error`."""
    if isinstance(error, SpecProblems):
        return error.problems
    if isinstance(error, TemplateError):
        at = f" at <{error.expression}>" if error.expression else ""
        message = f"{error.args[0]}{at}"
        return (Problem(error.file, error.line, error.column, "", message, error.hint),)
    return (Problem("", 0, 0, "", str(error), error.hint),)


def shown(file: Path) -> str:
    """`file` as shown in messages: relative if it is below the current folder."""
    return str(file.relative_to(here)) if file.is_relative_to(here := Path.cwd()) else str(file)


def _place_in(node: Scalar, error: TemplateError) -> tuple[int, int]:
    """Line and column in the specfile of an error in the text of `node`."""
    if node.style in ("|", ">"):
        return node.line + error.line, 0
    if error.line > 1:
        return node.line + error.line - 1, 0
    return node.line, node.column + max(error.column - 1, 0) + bool(node.style)


def _parse_rendered(text: str, rendered: str, file: str) -> Document[Hookfile]:
    try:
        return parse_hookfile(rendered, file)
    except SpecProblems as error:
        problems = [_of_rendered(problem, text, rendered) for problem in error.problems]
        raise SpecProblems(tuple(problems)) from error


def _of_rendered(problem: Problem, source: str, rendered: str) -> Problem:
    """A problem in the rendered text of a hook file, with the line of the file if it is known."""
    if source == rendered or not problem.line:
        return problem
    lines = rendered.splitlines()
    line = lines[problem.line - 1] if problem.line <= len(lines) else ""
    message = f"{problem.message} (line {problem.line} of the rendered text: `{line.strip()}`)"
    return replace(problem, line=_line_of(line, source), column=0, message=message)


def _line_of(line: str, source: str) -> int:
    """The number of `line` in `source` if it occurs exactly once, else 0."""
    numbers = [n for n, text in enumerate(source.splitlines(), 1) if text == line and text.strip()]
    return numbers[0] if len(numbers) == 1 else 0


def _below(base: Path, path: str) -> str:
    """A relative `path` joined to `base`; an absolute one unchanged."""
    return path if path.startswith("/") else os.path.normpath(base / path)


def _engine(engine: Engine) -> Callable[..., str]:
    """The engine's `render(text, options, *, name, now)`, imported when it is needed."""
    render: Callable[..., str] = import_module(_ENGINES[engine]).render
    return render
