"""Values to JSON, YAML and TOML, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from orchestrator.helm.errors import FunctionError, NotJson
from orchestrator.helm.signature import Function
from orchestrator.helm.values import Map, Slice, type_of

if TYPE_CHECKING:
    from orchestrator.helm.interpreter import Run


def json_of(run: Run, value: object, *, html: bool = True, indent: str = "") -> str:
    from orchestrator.helm import gojson

    run.budget.measure(value)
    return gojson.encode(value, html=html, indent=indent)


def to_json(run: Run, value: object) -> str:
    """Empty if the value has no JSON form."""
    try:
        return json_of(run, value)
    except NotJson:
        return ""


def to_pretty_json(run: Run, value: object) -> str:
    try:
        return json_of(run, value, indent="  ")
    except NotJson:
        return ""


def must_to_json(run: Run, value: object) -> str:
    return must(lambda: json_of(run, value))


def must_to_pretty_json(run: Run, value: object) -> str:
    return must(lambda: json_of(run, value, indent="  "))


def to_raw_json(run: Run, value: object) -> str:
    return must(lambda: json_of(run, value, html=False))


def must(encode: Callable[[], str]) -> str:
    try:
        return encode()
    except NotJson as error:
        raise FunctionError(str(error)) from error


def from_json(text: str) -> Map:
    """A map; its key `Error` has the error in the text."""
    from orchestrator.helm import gojson

    try:
        return as_map(gojson.decode(text), "json: ")
    except NotJson as error:
        return failed(str(error))


def from_json_array(text: str) -> Slice:
    from orchestrator.helm import gojson

    try:
        return as_list(gojson.decode(text), "json: ")
    except NotJson as error:
        return Slice([str(error)])


def must_from_json(text: str) -> object:
    from orchestrator.helm import gojson

    try:
        return gojson.decode(text)
    except NotJson as error:
        raise FunctionError(str(error)) from error


def as_map(value: object, prefix: str) -> Map:
    if value is None:
        return Map(is_nil=True)
    if not isinstance(value, dict):
        return failed(
            f"{prefix}cannot unmarshal {json_kind(value)} into Go value of type "
            "map[string]interface {}"
        )
    return Map(value.items())


def as_list(value: object, prefix: str) -> Slice:
    if value is None:
        return Slice(is_nil=True)
    if not isinstance(value, list):
        message = (
            f"{prefix}cannot unmarshal {json_kind(value)} into Go value of type []interface {{}}"
        )
        return Slice([message])
    return Slice(value)


def json_kind(value: object) -> str:
    kinds = {"float64": "number", "bool": "bool", "string": "string", "[]interface {}": "array"}
    return kinds.get(type_of(value), "object")


def failed(message: str) -> Map:
    return Map([("Error", message)])


def to_yaml(run: Run, value: object) -> str:
    """Empty if the value has no YAML form."""
    from orchestrator.helm import goyaml

    run.budget.measure(value)
    try:
        return goyaml.to_yaml(value).removesuffix("\n")
    except NotJson:
        return ""


def to_yaml_pretty(run: Run, value: object) -> str:
    from orchestrator.helm import goyaml

    run.budget.measure(value)
    return goyaml.to_yaml_pretty(value).removesuffix("\n")


YAML_PREFIX = "error unmarshaling JSON: while decoding JSON: json: "


def from_yaml(text: str) -> Map:
    from orchestrator.helm import yaml11

    try:
        value = yaml11.decode(text)
        return Map() if value is None else as_map(value, YAML_PREFIX)
    except yaml11.NotYaml as error:
        return failed(f"error converting YAML to JSON: {error}")


def from_yaml_array(text: str) -> Slice:
    from orchestrator.helm import yaml11

    try:
        value = yaml11.decode(text)
        return Slice() if value is None else as_list(value, YAML_PREFIX)
    except yaml11.NotYaml as error:
        return Slice([f"error converting YAML to JSON: {error}"])


def to_toml(run: Run, value: object) -> str:
    """The error message, as text, if the value has no TOML form."""
    from orchestrator.helm import gotoml

    if value is None:
        raise FunctionError("nil has no TOML form", "is the option set?")
    run.budget.measure(value)
    try:
        return gotoml.encode(value)
    except gotoml.NotToml as error:
        return str(error)


def from_toml(text: str) -> Map:
    from orchestrator.helm import gotoml

    try:
        return Map(gotoml.decode(text).items())
    except gotoml.NotToml as error:
        return failed(str(error))


FUNCTIONS: Mapping[str, Function] = {
    "fromJson": from_json,
    "fromJsonArray": from_json_array,
    "fromToml": from_toml,
    "fromYaml": from_yaml,
    "fromYamlArray": from_yaml_array,
    "mustFromJson": must_from_json,
    "mustToJson": must_to_json,
    "mustToPrettyJson": must_to_pretty_json,
    "mustToRawJson": to_raw_json,
    "toJson": to_json,
    "toPrettyJson": to_pretty_json,
    "toRawJson": to_raw_json,
    "toToml": to_toml,
    "toYaml": to_yaml,
    "toYamlPretty": to_yaml_pretty,
}
