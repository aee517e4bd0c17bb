"""What `.` is at the beginning: the values that Helm's renderer puts in scope."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.helm.values import Map, Slice, Struct, adopt

NAME = "tpl/templates"


def scope(options: Mapping[str, object]) -> Map:
    """`.Values` is a copy of `options`. There is no release and no cluster, so `.Release` and
    `.Capabilities` are nothing."""
    values: dict[str, object] = {
        "Values": adopt(options),
        "Chart": chart(),
        "Files": Map(go_type="engine.files", zero=Slice((), "uint8", is_nil=True)),
        "Release": None,
        "Capabilities": None,
        "Subcharts": {},
        "Template": Map((("Name", NAME), ("BasePath", NAME)), go_type="chartutil.Values"),
    }
    return Map(values.items(), go_type="chartutil.Values")


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
    return Struct("struct { chart.Metadata; IsRoot bool }", whole, promoted=metadata)
