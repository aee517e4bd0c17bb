"""Sprig's functions on strings. Positions and lengths count bytes, as in Go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from orchestrator.helm.errors import FunctionError
from orchestrator.helm.functions import unicode
from orchestrator.helm.functions.casing import FUNCTIONS as CASING
from orchestrator.helm.printing import PLAIN, format_value, to_text
from orchestrator.helm.quoting import quote as quoted
from orchestrator.helm.signature import Function
from orchestrator.helm.values import Map, Slice, from_bytes, strings, to_bytes

if TYPE_CHECKING:
    from orchestrator.helm.interpreter import Run


def strval(value: object) -> str:
    """A value as text, as in Sprig: nil is `<nil>` here."""
    if isinstance(value, Slice) and value.element == "uint8":
        return format_value(value, "s", PLAIN)
    return format_value(value, "v", PLAIN) if value is None else to_text(value)


def strslice(value: object) -> list[str]:
    """A list of texts, as in Sprig: the items without nils, or the single value."""
    if isinstance(value, list):
        return [strval(item) for item in value if item is not None]
    return [] if value is None else [strval(value)]


def trim(text: str) -> str:
    return text.strip(unicode.SPACES)


def trim_all(cutset: str, text: str) -> str:
    return text.strip(cutset)


def trim_prefix(prefix: str, text: str) -> str:
    return text.removeprefix(prefix)


def trim_suffix(suffix: str, text: str) -> str:
    return text.removesuffix(suffix)


def contains(part: str, text: str) -> bool:
    return part in text


def has_prefix(prefix: str, text: str) -> bool:
    return text.startswith(prefix)


def has_suffix(suffix: str, text: str) -> bool:
    return text.endswith(suffix)


def repeat(run: Run, count: int, text: str) -> str:
    if count < 0:
        raise FunctionError("strings: negative Repeat count")
    run.budget.reserve(count * len(text))
    return text * count


def replace(run: Run, old: str, new: str, text: str) -> str:
    found = text.count(old)
    run.budget.reserve(len(text) + found * (len(new) - len(old)))
    return text.replace(old, new)


def trunc(length: int, text: str) -> str:
    data = to_bytes(text)
    if length < 0 < len(data) + length:
        return from_bytes(data[length:])
    return from_bytes(data[:length]) if length >= 0 else text


def substr(start: int, end: int, text: str) -> str:
    data = to_bytes(text)
    if start < 0:
        return from_bytes(cut(data, 0, end))
    if end < 0 or end > len(data):
        return from_bytes(cut(data, start, len(data)))
    return from_bytes(cut(data, start, end))


def cut(data: bytes, start: int, end: int) -> bytes:
    if not 0 <= start <= end <= len(data):
        raise FunctionError(f"slice bounds out of range [{start}:{end}] of {len(data)} bytes")
    return data[start:end]


def abbrev(width: int, text: str) -> str:
    return abbreviated(text, 0, width)


def abbrevboth(left: int, right: int, text: str) -> str:
    return text if left > 0 and right < 7 else abbreviated(text, left, right)


def abbreviated(text: str, offset: int, width: int) -> str:
    """At most `width` bytes: dots replace what is cut off at the end, and at the beginning if
    `offset` bytes or more are cut there."""
    data = to_bytes(text)
    if width < 4 or len(data) <= width:
        return text
    offset = min(offset, len(data))
    if len(data) - offset < width - 3:
        offset = len(data) - (width - 3)
    if offset <= 4:
        return from_bytes(data[: width - 3]) + "..."
    if width < 7:
        return ""
    if offset + width - 3 < len(data):
        return "..." + abbreviated(from_bytes(data[offset:]), 0, width - 3)
    return "..." + from_bytes(data[-(width - 3) :])


def nospace(text: str) -> str:
    """Without white space. It works on bytes, so that text with spaces is mangled if it is not
    ASCII."""
    data = to_bytes(text)
    kept = [byte for byte in data if not unicode.is_space(chr(byte))]
    return text if len(kept) == len(data) else "".join(map(chr, kept))


def initials(text: str) -> str:
    """The first byte of each word."""
    letters: list[str] = []
    gap = True
    for char in map(chr, to_bytes(text)):
        if unicode.is_space(char):
            gap = True
        elif gap:
            letters.append(char)
            gap = False
    return "".join(letters)


def indent(run: Run, spaces: int, text: str) -> str:
    if spaces < 0:
        raise FunctionError("strings: negative Repeat count")
    run.budget.reserve(len(text) + spaces * (text.count("\n") + 1))
    pad = " " * spaces
    return pad + text.replace("\n", "\n" + pad)


def nindent(run: Run, spaces: int, text: str) -> str:
    return "\n" + indent(run, spaces, text)


def wrap(run: Run, length: int, text: str) -> str:
    return wrapped(run, text, length, "\n", cuts_words=False)


def wrap_with(run: Run, length: int, separator: str, text: str) -> str:
    return wrapped(run, text, length, separator or "\n", cuts_words=True)


def wrapped(run: Run, text: str, length: int, separator: str, *, cuts_words: bool) -> str:
    """Lines of at most `length` bytes, broken at spaces; a longer word is cut or kept."""
    data, length = to_bytes(text), max(length, 1)
    run.budget.reserve(len(data) + (len(data) // length + data.count(b" ") + 1) * len(separator))
    lines: list[str] = []
    offset = 0
    while len(data) - offset > length:
        if data[offset] == 0x20:
            offset += 1
            continue
        space = data.rfind(b" ", offset, offset + length + 1)
        end = space
        if space < 0:
            end = offset + length
            if not cuts_words:
                end = data.find(b" ", end)
                if end < 0:
                    break
        lines.append(from_bytes(data[offset:end]))
        offset = end + (space >= 0 or not cuts_words)
    lines.append(from_bytes(data[offset:]))
    return separator.join(lines)


def plural(one: str, many: str, count: int) -> str:
    return one if count == 1 else many


def quote(run: Run, *values: object) -> str:
    run.budget.measure(*values)
    return " ".join(quoted(strval(value)) for value in values if value is not None)


def squote(run: Run, *values: object) -> str:
    run.budget.measure(*values)
    return " ".join(f"'{to_text(value)}'" for value in values if value is not None)


def cat(run: Run, *values: object) -> str:
    run.budget.measure(*values)
    return " ".join(to_text(value) for value in values if value is not None)


def to_string(run: Run, value: object) -> str:
    run.budget.measure(value)
    return strval(value)


def to_strings(run: Run, value: object) -> Slice:
    run.budget.measure(value)
    if isinstance(value, Slice) and value.element == "string":
        return value
    return strings(strslice(value))


def join(run: Run, separator: str, value: object) -> str:
    run.budget.measure(value)
    texts = strslice(value)
    run.budget.reserve(len(separator) * len(texts))
    return separator.join(texts)


def split_list(run: Run, separator: str, text: str) -> Slice:
    return strings(parts_of(run, text, separator, -1))


def split(run: Run, separator: str, text: str) -> Map:
    return numbered(parts_of(run, text, separator, -1))


def splitn(run: Run, separator: str, count: int, text: str) -> Map:
    return numbered(parts_of(run, text, separator, count))


def parts_of(run: Run, text: str, separator: str, count: int) -> list[str]:
    """strings.SplitN: a negative count is no limit; an empty separator splits everywhere."""
    if count == 0:
        return []
    found = text.count(separator) if separator else len(text)
    run.budget.reserve_items(found if count < 0 else min(found, count))
    if separator:
        return text.split(separator, count - 1 if count > 0 else -1)
    if 0 < count < len(text):
        return [*text[: count - 1], text[count - 1 :]]
    return list(text)


def numbered(parts: list[str]) -> Map:
    items = ((f"_{number}", part) for number, part in enumerate(parts))
    return Map(items, "map[string]string", zero="")


def hello() -> str:
    return "Hello!"


FUNCTIONS: Mapping[str, Function] = {
    **CASING,
    "abbrev": abbrev,
    "abbrevboth": abbrevboth,
    "cat": cat,
    "contains": contains,
    "hasPrefix": has_prefix,
    "hasSuffix": has_suffix,
    "hello": hello,
    "indent": indent,
    "initials": initials,
    "join": join,
    "nindent": nindent,
    "nospace": nospace,
    "plural": plural,
    "quote": quote,
    "repeat": repeat,
    "replace": replace,
    "split": split,
    "splitList": split_list,
    "splitn": splitn,
    "squote": squote,
    "substr": substr,
    "toString": to_string,
    "toStrings": to_strings,
    "trim": trim,
    "trimAll": trim_all,
    "trimPrefix": trim_prefix,
    "trimSuffix": trim_suffix,
    "trimall": trim_all,
    "trunc": trunc,
    "wrap": wrap,
    "wrapWith": wrap_with,
}
