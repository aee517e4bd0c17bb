"""Prints a rendered job like mark-devkit's `diagnose job`: keys, order and layout."""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime
from enum import StrEnum
from typing import Any

from orchestrator.formats.spec import Environment
from orchestrator.formats.yamltext import rfc3339, yaml_text
from orchestrator.planning.render import RenderedJob


def document(rendered: RenderedJob) -> dict[str, Any]:
    """`{job: ..., hooks: [{hooks: [...]}, ...]}`, without empty values."""
    files = [_compact(file.content) for file in rendered.hook_files]
    shown = {"job": _compact(rendered.job)}
    return shown | ({"hooks": files} if files else {})


def _compact(value: Any) -> Any:
    """Dataclasses as dicts without empty values, except in options and variables."""
    if dataclasses.is_dataclass(value):
        names = [item.name for item in dataclasses.fields(value)]
        items = {name: _compact(getattr(value, name)) for name in names}
        if isinstance(value, Environment):
            return items
        return {key: item for key, item in items.items() if item not in (None, "", 0, [], {})}
    if isinstance(value, tuple):
        return [_compact(item) for item in value]
    return str(value) if isinstance(value, StrEnum) else value


def as_json(rendered: RenderedJob) -> str:
    return json.dumps(document(rendered), ensure_ascii=False, indent=2, default=_json_value)


def _json_value(value: Any) -> str:
    return rfc3339(value) if isinstance(value, datetime) else str(value)


def as_yaml(rendered: RenderedJob) -> str:
    return yaml_text(document(rendered)) + "\n"
