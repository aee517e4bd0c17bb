"""What a template may reach in a value by name: keys of maps, fields of structs, some methods."""

from __future__ import annotations

from orchestrator.helm.signature import Function
from orchestrator.helm.values import Map, Opaque, Struct


class NoSuchField(Exception):
    """The value has no field or method of that name."""


def method_of(value: object, name: str) -> Function | None:
    """The method `name` of `value`, to be called with `value` first. There are no others than
    those that the type lists."""
    return value.methods().get(name) if isinstance(value, Opaque | Map) else None


def field_of(value: object, name: str) -> object:
    """The field of a struct, or the key of a map: what is not there is the zero of its type."""
    if isinstance(value, Struct):
        fields = {**value.promoted, **value.fields}
        if name in fields:
            return fields[name]
    if isinstance(value, Map):
        return value.get(name, value.zero)
    if isinstance(value, dict):
        return value.get(name)
    raise NoSuchField
