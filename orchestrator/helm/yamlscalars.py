"""Plain scalars of YAML 1.1 as in Go's yaml.v2, and which of them are not text in yaml.v3."""

from __future__ import annotations

import math
import re

from orchestrator.helm.literals import INT64_MAX, INT64_MIN, UINT64_MAX, parse_float, parse_int
from orchestrator.helm.values import Uint64

TRUE = frozenset(["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"])
FALSE = frozenset(["n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"])
OLD_BOOLEANS = (TRUE | FALSE) - frozenset(["true", "True", "TRUE", "false", "False", "FALSE"])
NULLS = frozenset(("", "~", "null", "Null", "NULL"))
FLOATS = {
    sign + name: value
    for names, value in (((".inf", ".Inf", ".INF"), math.inf), ((".nan", ".NaN", ".NAN"), math.nan))
    for name in names
    for sign in ("", "+")
} | dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf)
YAML_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
BASE60 = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?")
TIMESTAMP = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{1,2}-[0-9]{1,2})"
    r"(?:[Tt](?P<zoned>[0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2}(?:\.[0-9]+)?)(?:Z|[-+][0-9]{2}:[0-9]{2})"
    r"| +(?P<bare>[0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2}(?:\.[0-9]+)?))?"
)


def resolve(text: str) -> object:
    """The value of a plain scalar; a time stays text, as in untyped values of yaml.v2."""
    if text in NULLS:
        return None
    if text in TRUE or text in FALSE:
        return text in TRUE
    if text in FLOATS and text not in ("+.nan", "+.NaN", "+.NAN"):
        return FLOATS[text]
    if text[0] == ".":
        number = parse_float(text)
        return text if number is None else number
    if text[0] in "+-0123456789" and not is_timestamp(text):
        return resolve_number(text)
    return text


def resolve_number(text: str) -> object:
    bare = text.replace("_", "")
    integer = parse_int(bare)
    if integer is not None and INT64_MIN <= integer <= UINT64_MAX:
        return integer if integer <= INT64_MAX else Uint64(integer)
    if YAML_FLOAT.fullmatch(bare) and (number := parse_float(bare)) is not None:
        return number
    return text


def is_timestamp(text: str) -> bool:
    if not TIMESTAMP.fullmatch(text):
        return False
    from orchestrator.helm.gotime import UTC_ZONE
    from orchestrator.helm.timeparser import parse_time

    layouts = ("2006-1-2T15:4:5Z07:00", "2006-1-2t15:4:5Z07:00", "2006-1-2 15:4:5", "2006-1-2")
    return any(parse_time(layout, text, UTC_ZONE) for layout in layouts)


def is_text(text: str, *, is_v3: bool) -> bool:
    """Whether all readers of YAML read `text`, unquoted, as text."""
    if is_base60(text):
        return False
    return is_string_v3(text) and text not in OLD_BOOLEANS if is_v3 else is_string(text)


def is_string(text: str) -> bool:
    """Whether yaml.v2 reads it, unquoted, as text."""
    is_time = text[:1].isdigit() and is_timestamp(text)
    return not is_time and isinstance(resolve(text), str)


def is_string_v3(text: str) -> bool:
    """Whether yaml.v3 does; there `yes` and similar words are text."""
    if text in OLD_BOOLEANS:
        return True
    bare = text.replace("_", "")
    if re.fullmatch(r"[-+]?0o[0-7]+", bare) or re.fullmatch(r"[-+]?0b[01]+", bare):
        return False
    return is_string(text)


def is_base60(text: str) -> bool:
    return ":" in text and bool(BASE60.fullmatch(text))


# The order of keys: numbers first, digits in texts by their value.


def key_less(one: object, other: object, *, is_v3: bool) -> bool:
    if isinstance(one, str) and isinstance(other, str):
        return text_less(one, other, is_v3=is_v3)
    numbers = [isinstance(key, bool | int | float) for key in (one, other)]
    if isinstance(one, bool | int | float) and isinstance(other, bool | int | float):
        return float(one) < float(other)
    return numbers[0] and not numbers[1]


def text_less(one: str, other: str, *, is_v3: bool) -> bool:
    digits = False
    for index, (mine, its) in enumerate(zip(one, other, strict=False)):
        if mine == its:
            digits = mine.isdecimal()
            continue
        if mine.isalpha() and its.isalpha():
            return mine < its
        if mine.isalpha() or its.isalpha():
            return mine.isalpha() if is_v3 and digits else its.isalpha()
        return number_less(one, other, index)
    return len(one) < len(other)


def number_less(one: str, other: str, index: int) -> bool:
    """Compare texts that differ from `index` on, where at least one has no letter."""
    start = 0
    if "0" in (one[index], other[index]):
        before = re.search(r"\d*$", one[:index])
        start = int(bool(before and before[0].strip("0")))
    mine, its = number_at(one, index, start), number_at(other, index, start)
    if mine != its:
        return mine < its
    return one[index] < other[index]


def number_at(text: str, index: int, start: int) -> tuple[int, int]:
    """The number that begins with the digit `start`, and its length."""
    found = re.compile(r"\d*").match(text, index)
    assert found
    digits = found[0][:18]
    return int(f"{start}{digits}"), len(found[0])
