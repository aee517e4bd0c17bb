"""JSON Schemas of the file formats, generated from their dataclasses, for editors.

They allow what the reader allows: numbers and booleans where text is expected, and `<<` in every
mapping.
"""

from __future__ import annotations

import dataclasses
import inspect
from dataclasses import MISSING
from enum import StrEnum
from typing import Any, get_args, get_origin

from orchestrator.formats.batchfile import Batchfile
from orchestrator.formats.gatefile import Gatefile
from orchestrator.formats.reader import (
    Count,
    FieldInfo,
    Seconds,
    Share,
    Size,
    fields_of,
    is_lone,
    is_open,
    short_key,
    without_none,
)
from orchestrator.formats.releasefile import Releasefile
from orchestrator.formats.scenariofile import Scenariofile
from orchestrator.formats.spec import Hookfile, Specfile

FORMATS: dict[str, type] = {
    "specfile": Specfile,
    "hooks": Hookfile,
    "batch": Batchfile,
    "release": Releasefile,
    "gate": Gatefile,
    "scenario": Scenariofile,
}

_SCALARS: dict[Any, dict[str, Any]] = {
    str: {"type": ["string", "number", "boolean", "null"]},
    bool: {"type": ["boolean", "null"]},
    int: {"type": ["integer", "null"]},
    Count: {"type": ["integer", "null"], "minimum": 0},
    Size: {
        "type": ["integer", "string", "null"],
        "minimum": 0,
        "pattern": r"^[0-9]{1,15}[KMGT]?$",
    },
    Seconds: {
        "type": ["number", "string", "null"],
        "minimum": 0,
        "pattern": r"^([0-9]+(\.[0-9]+)?[dhms])+$",
    },
    Share: {"type": ["string", "null"], "pattern": r"^[0-9]{1,4}(\.[0-9]{1,9})?%$"},
    Any: {},
}


def schema(name: str) -> dict[str, Any]:
    """The schema of the format called `name`, one of `FORMATS`."""
    definitions: dict[str, Any] = {}
    root = _of_dataclass(FORMATS[name], definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"stagefarm {name}",
        **root,
        "$defs": dict(sorted(definitions.items())),
    }


def _of_dataclass(kind: type, definitions: dict[str, Any]) -> dict[str, Any]:
    infos = fields_of(kind)
    required = [info.name for info in infos if info.default is MISSING]
    found: dict[str, Any] = {
        "description": inspect.cleandoc(kind.__doc__ or "").replace("\n", " "),
        "type": "object",
        "properties": {info.name: _of_field(info, definitions) for info in infos},
    }
    if required:
        found["required"] = required
    if not is_open(kind):
        found["properties"]["<<"] = {"description": "Mappings to merge keys from."}
        found["additionalProperties"] = False
    return found


def _of_field(info: FieldInfo, definitions: dict[str, Any]) -> dict[str, Any]:
    found = {"description": describe(info), **_of_kind(info.kind, definitions)}
    if isinstance(info.default, str | int) and info.default not in ("", 0, False):
        found["default"] = info.default
    if dataclasses.is_dataclass(info.default) and (default := _changed(info)):
        found["default"] = default
    return found


def _changed(info: FieldInfo) -> dict[str, Any]:
    """What the default of the key has set other than its kind has."""
    values = {item.name: getattr(info.default, item.name) for item in fields_of(info.kind)}
    return {
        item.name: values[item.name]
        for item in fields_of(info.kind)
        if isinstance(values[item.name], str | int) and values[item.name] != item.default
    }


def describe(info: FieldInfo) -> str:
    """The description of the key, in one line."""
    parts = [info.key.doc]
    parts += ["A template."] if info.key.rendered else []
    parts += [f"Relative to {info.key.relative_to}."] if info.key.relative_to else []
    return " ".join(parts)


def _or_short(found: dict[str, Any], kind: type, definitions: dict[str, Any]) -> dict[str, Any]:
    """`found`, or the value that may stand for it."""
    for info in fields_of(kind):
        if info.name == short_key(kind):
            return {"anyOf": [_of_kind(info.kind, definitions), found]}
    return found


def _of_kind(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    kind = without_none(kind)
    if get_origin(kind) is tuple:
        item = _of_kind(get_args(kind)[0], definitions)
        several = {"type": ["array", "null"], "items": item}
        return {"anyOf": [item, several]} if is_lone(get_args(kind)[0]) else several
    if get_origin(kind) is dict:
        values = _of_kind(get_args(kind)[1], definitions)
        return {"type": ["object", "null"], "additionalProperties": values}
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return {"enum": [str(item) for item in kind]}
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        if kind.__name__ not in definitions:
            definitions[kind.__name__] = {}
            definitions[kind.__name__] = _of_dataclass(kind, definitions)
        return _or_short({"$ref": f"#/$defs/{kind.__name__}"}, kind, definitions)
    return dict(_SCALARS[kind])
