"""Sprig's functions on maps. Where Go's order of keys is random, here it is sorted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from orchestrator.helm.errors import FunctionError
from orchestrator.helm.functions.strings import strval
from orchestrator.helm.signature import Function, describe
from orchestrator.helm.values import Map, is_empty, sorted_keys, strings, type_of

if TYPE_CHECKING:
    from orchestrator.helm.interpreter import Run

GoMap = dict[object, object]


def dict_(run: Run, *items: object) -> GoMap:
    """A map of alternating keys and values; a last key without a value gets an empty text."""
    run.budget.measure(*items[::2])
    return {
        strval(key): items[index * 2 + 1] if index * 2 + 1 < len(items) else ""
        for index, key in enumerate(items[::2])
    }


def get(mapping: GoMap, key: str) -> object:
    return mapping.get(key, "")


def set_(mapping: GoMap, key: str, value: object) -> GoMap:
    if isinstance(mapping, Map) and mapping.is_nil:
        raise FunctionError("assignment to entry in nil map", "is the option set?")
    mapping[key] = value
    return mapping


def unset(mapping: GoMap, key: str) -> GoMap:
    mapping.pop(key, None)
    return mapping


def has_key(mapping: GoMap, key: str) -> bool:
    return key in mapping


def pluck(key: str, *mappings: GoMap) -> list[object]:
    return [mapping[key] for mapping in mappings if key in mapping]


def keys(*mappings: GoMap) -> object:
    return strings(str(key) for mapping in mappings for key in sorted_keys(mapping))


def values(mapping: GoMap) -> list[object]:
    return [mapping[key] for key in sorted_keys(mapping)]


def pick(mapping: GoMap, *wanted: str) -> GoMap:
    return {key: mapping[key] for key in wanted if key in mapping}


def omit(mapping: GoMap, *unwanted: str) -> GoMap:
    return {key: value for key, value in mapping.items() if key not in unwanted}


def dig(*steps: object) -> object:
    """Follow the keys down; the last but one argument is the default for a missing key."""
    if len(steps) < 3:
        raise FunctionError("dig needs at least three arguments")
    *path, fallback, place = steps
    for key in path:
        if not isinstance(key, str):
            raise FunctionError(f"a key is a string, not {describe(key)}")
    for key in path:
        if type_of(place) != "map[string]interface {}" or not isinstance(place, dict):
            raise FunctionError(f'"{key}" is read from {describe(place)}, which is not a map')
        if key not in place:
            return fallback
        place = place[key]
    return place


def merge(run: Run, target: GoMap, *sources: GoMap) -> GoMap:
    return merged(run, target, sources, overwrite=False)


def merge_overwrite(run: Run, target: GoMap, *sources: GoMap) -> GoMap:
    return merged(run, target, sources, overwrite=True)


def merged(run: Run, target: GoMap, sources: tuple[GoMap, ...], *, overwrite: bool) -> GoMap:
    for source in sources:
        run.budget.measure(target, source)
        if isinstance(target, Map) and target.is_nil and source:
            target = dict(target)
        merge_into(target, source, overwrite=overwrite)
    return target


def merge_into(target: GoMap, source: GoMap, *, overwrite: bool) -> None:
    """Fill empty values of `target` from `source`; maps in both are merged."""
    for key, value in source.items():
        mine = target.get(key)
        if value is None:
            if overwrite:
                target[key] = None
        elif isinstance(value, dict) and isinstance(mine, dict) and mine:
            merge_into(mine, value, overwrite=overwrite)
        elif overwrite or is_empty(mine):
            target[key] = value


FUNCTIONS: Mapping[str, Function] = {
    "dict": dict_,
    "dig": dig,
    "get": get,
    "hasKey": has_key,
    "keys": keys,
    "merge": merge,
    "mergeOverwrite": merge_overwrite,
    "mustMerge": merge,
    "mustMergeOverwrite": merge_overwrite,
    "omit": omit,
    "pick": pick,
    "pluck": pluck,
    "set": set_,
    "unset": unset,
    "values": values,
}
