"""Access to parts of a value by name: keys of maps, fields of structs, some methods."""

from __future__ import annotations

from orchestrator.helm.signature import Function
from orchestrator.helm.values import Map, Opaque, Struct


class NoSuchField(Exception):
    """The value has no field or method of that name."""


def method_of(value: object, name: str) -> Function | None:
    """The method `name` of `value`, called with `value` first. Only methods that the type lists
    can be called."""
    return value.methods().get(name) if isinstance(value, Opaque | Map) else None


def field_of(value: object, name: str) -> object:
    """The field of a struct or the key of a map; a missing key is the zero value of its type."""
    if isinstance(value, Struct):
        fields = {**value.promoted, **value.fields}
        if name in fields:
            return fields[name]
    if isinstance(value, Map):
        return value.get(name, value.zero)
    if isinstance(value, dict):
        return value.get(name)
    raise NoSuchField
