"""Values of YAML scalars, as in yaml.v3's `resolve.go`.

YAML 1.2's core schema (`yes` and `12:30:45` are text), with Go's number forms (`0755` and `0o17`
octal, `0b101`, `1_000`) and with timestamps.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import TypeAlias

Value: TypeAlias = bool | int | float | str | datetime | None

LONG_TAG = "tag:yaml.org,2002:"
_WORDS: dict[str, Value] = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
}
_TYPED: dict[str, type | tuple[type, ...]] = {
    "null": type(None),
    "bool": bool,
    "int": int,
    "float": float,
    "timestamp": datetime,
}
_INT = re.compile(
    r"[-+]?(?:0[xX](?P<x>[0-9a-fA-F]+)|0[bB](?P<b>[01]+)|0[oO]?(?P<o>[0-7]+)|(?P<d>0|[1-9][0-9]*))",
    re.ASCII,
)
_BASES = {"x": 16, "b": 2, "o": 8, "d": 10}
_SIGN_INSIDE = re.compile(r"(0[bo])([-+])([0-7]+)", re.ASCII)  # `0b-101` is -5 to yaml.v3
_UNDERSCORE = re.compile(r"(?<=[0-9])_(?=[0-9])", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_TIMESTAMP = re.compile(
    r"(?P<year>\d{4})-(?P<month>\d\d?)-(?P<day>\d\d?)"
    r"(?:(?P<sep>[Tt]| +)(?P<hour>\d\d?):(?P<minute>\d\d?):(?P<second>\d\d?)(?:[.,](?P<part>\d+))?"
    r"(?P<zone>Z|[-+]\d\d:\d\d)?)?",
    re.ASCII,
)
_FIELDS = ("year", "month", "day", "hour", "minute", "second")
_INT_MIN, _UINT_MAX = -(2**63), 2**64 - 1


def scalar_value(tag: str | None, text: str, style: str) -> tuple[Value, str]:
    """The value and the text of a scalar; ValueError if its tag does not match."""
    if tag is None or tag == "!":
        quoted = bool(style)
        return (text if quoted else resolve(text)), text
    name = tag.removeprefix(LONG_TAG)
    if name == "binary":
        return (decoded := _binary(text)), decoded
    if name not in _TYPED:
        return text, text
    value = resolve(text, timestamps=name == "timestamp")
    if name == "float" and type(value) is int:
        return float(value), text
    if type(value) is not _TYPED[name]:
        raise ValueError(f"cannot read {text!r} as !!{name}")
    return value, text


def resolve(text: str, *, timestamps: bool = True) -> Value:
    """The value of the plain scalar `text`."""
    if text in _WORDS:
        return _WORDS[text]
    first = text[0]
    if first == ".":
        number = _float(_UNDERSCORE.sub("", text))
        return text if number is None else number
    if not ("0" <= first <= "9" or first in "+-"):
        return text
    for value in _numbers(text, timestamps=timestamps):
        if value is not None:
            return value
    return text


def _numbers(text: str, *, timestamps: bool) -> Iterator[Value]:
    if timestamps:
        yield _timestamp(text)
    digits = text.replace("_", "")
    yield _int(digits)
    yield _float(digits)
    if inside := _SIGN_INSIDE.fullmatch(digits):
        yield _int(inside[2] + inside[1] + inside[3])


def _int(text: str) -> int | None:
    """Go's `strconv.ParseInt(text, 0, 64)`, then `ParseUint`."""
    if not (match := _INT.fullmatch(text)):
        return None
    base = match.lastgroup or "d"
    if len(match[base]) > 64:
        return None
    number = int(match[base], _BASES[base])
    if text[0] == "-":
        number = -number
    most = _UINT_MAX if text[0] not in "+-" else 2**63 - 1
    return number if _INT_MIN <= number <= most else None


def _float(text: str) -> float | None:
    if not _FLOAT.fullmatch(text):
        return None
    number = float(text)
    return None if math.isinf(number) else number


def _timestamp(text: str) -> datetime | None:
    """The four forms that yaml.v3 accepts: `T` with a zone, `t` with a zone, a space without one,
    and a date alone."""
    match = _TIMESTAMP.fullmatch(text)
    if not match or (match["sep"] is not None and (match["sep"] in "Tt") != bool(match["zone"])):
        return None
    year, month, day, hour, minute, second = (int(match[name] or 0) for name in _FIELDS)
    microsecond = int(f"{(match['part'] or '0')[:6]:0<6}")
    try:
        zone = _zone(match["zone"] or "Z")
        return datetime(year, month, day, hour, minute, second, microsecond, zone)
    except ValueError:
        return None


def _zone(text: str) -> timezone:
    if text == "Z":
        return UTC
    hours, minutes = int(text[1:3]), int(text[4:6])
    return timezone((-1 if text[0] == "-" else 1) * timedelta(hours=hours, minutes=minutes))


def _binary(text: str) -> str:
    try:
        return base64.b64decode(re.sub(r"[\r\n]", "", text), validate=True).decode()
    except binascii.Error:
        raise ValueError("a !!binary value is not base64") from None
    except UnicodeDecodeError:
        raise ValueError("a !!binary value is not UTF-8 text once decoded") from None
