"""Helm's own functions: calling templates, and failing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from orchestrator.helm.errors import FunctionError, Refusal
from orchestrator.helm.signature import Function

if TYPE_CHECKING:
    from orchestrator.helm.interpreter import Run


def include(run: Run, name: str, data: object) -> str:
    template = run.templates.get(name)
    if template is None:
        raise FunctionError(f'no template "{name}"', 'define it with {{ define "..." }}')
    return run.execute(template, data)


def tpl(run: Run, text: str, data: object) -> str:
    return run.render_text(text, data)


def required(warning: str, value: object) -> object:
    if value is None or value == "":
        raise Refusal(warning)
    return value


def fail(message: str) -> str:
    raise Refusal(message)


def lookup(version: str, kind: str, namespace: str, name: str) -> dict[str, object]:  # noqa: ARG001
    """An empty map: there is no cluster."""
    return {}


def get_host_by_name(name: str) -> str:  # noqa: ARG001
    """An empty text: templates have no network access."""
    return ""


FUNCTIONS: Mapping[str, Function] = {
    "fail": fail,
    "getHostByName": get_host_by_name,
    "include": include,
    "lookup": lookup,
    "required": required,
    "tpl": tpl,
}
