"""The initial value of `.`: what Helm's renderer puts in scope."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from orchestrator.helm.functions.formats import to_yaml
from orchestrator.helm.values import Map, Slice, Struct, adopt, strings

if TYPE_CHECKING:
    from orchestrator.helm.interpreter import Run
    from orchestrator.helm.signature import Function

# The methods below take a receiver, `it`, and their arguments, and use few of them.
# ruff: noqa: ARG001

NAME = "tpl/templates"
VALUES = "chartutil.Values"


def scope(options: Mapping[str, object]) -> Map:
    """`.Values` is a copy of `options`. Without a release and a cluster, `.Release` and
    `.Capabilities` are nil."""
    values: dict[str, object] = {
        "Values": adopt(options),
        "Chart": chart(),
        "Files": no_files(),
        "Release": None,
        "Capabilities": None,
        "Subcharts": {},
        "Template": Map((("Name", NAME), ("BasePath", NAME)), VALUES, methods=VALUES_METHODS),
    }
    return Map(values.items(), VALUES, methods=VALUES_METHODS)


def no_files() -> Map:
    """The files of a chart; here there are none."""
    nothing = Slice((), "uint8", is_nil=True)
    return Map((), "engine.files", zero=nothing, methods=FILES_METHODS)


def get(it: Map, name: str) -> str:
    return ""


def get_bytes(it: Map, name: str) -> Slice:
    return Slice((), "uint8")


def glob(it: Map, pattern: str) -> Map:
    return it


def lines(it: Map, name: str) -> Slice:
    return strings(())


def as_config(it: Map) -> str:
    return "{}"


FILES_METHODS: Mapping[str, Function] = {
    "AsConfig": as_config,
    "AsSecrets": as_config,
    "Get": get,
    "GetBytes": get_bytes,
    "Glob": glob,
    "Lines": lines,
}


def as_map(it: Map) -> dict[object, object]:
    return dict(it)


def yaml_of(run: Run, it: Map) -> str:
    return to_yaml(run, it) + "\n"


VALUES_METHODS: Mapping[str, Function] = {"AsMap": as_map, "YAML": yaml_of}


def chart() -> Struct:
    metadata: dict[str, object] = {
        "Name": "tpl",
        "Home": "",
        "Sources": Slice((), "string", is_nil=True),
        "Version": "",
        "Description": "",
        "Keywords": Slice((), "string", is_nil=True),
        "Maintainers": Slice((), "*chart.Maintainer", is_nil=True),
        "Icon": "",
        "APIVersion": "",
        "Condition": "",
        "Tags": "",
        "AppVersion": "",
        "Deprecated": False,
        "Annotations": Map(go_type="map[string]string", is_nil=True, zero=""),
        "KubeVersion": "",
        "Dependencies": Slice((), "*chart.Dependency", is_nil=True),
        "Type": "",
    }
    inner = Struct("chart.Metadata", metadata)
    whole = {"Metadata": inner, "IsRoot": True}
    return Struct(
        "struct { chart.Metadata; IsRoot bool }",
        whole,
        promoted=metadata,
        json={"name": "tpl", "IsRoot": True},
    )
