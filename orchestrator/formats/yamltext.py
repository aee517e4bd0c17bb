"""Values as YAML text, in the layout of Go's yaml.v3."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

import yaml

from orchestrator.formats.scalars import resolve


def yaml_text(value: Any) -> str:
    """`value` in YAML, without a trailing newline."""
    if isinstance(value, dict | list) and value:
        return "\n".join(_lines(value))
    return _scalar(value)


def _lines(value: Any, step: int = 4) -> Iterator[str]:
    """A mapping or list in block style. The content of a mapping is indented by `step`: 4, or 2 if
    the mapping is an item of a list, whose dash takes the other 2."""
    if isinstance(value, dict):
        for key, item in value.items():
            shown = sorted_keys(item) if key == "options" else item
            name = _quoted(key, '"') if isinstance(key, str) and "\n" in key else _scalar(key)
            yield from _entry(f"{name}:", shown, step)
        return
    for item in value:
        if isinstance(item, dict | list) and item:
            first, *rest = _lines(item, step=2)
            yield f"- {first}"
            yield from _indented(rest, 2)
        else:
            yield from _entry("-", item, 2)


def _entry(before: str, item: Any, step: int) -> Iterator[str]:
    """`item` after its key or dash."""
    if isinstance(item, dict | list) and item:
        yield before
        yield from _indented(_lines(item), step)
        return
    first, *rest = _scalar(item).split("\n")
    yield f"{before} {first}"
    yield from _indented(rest, step)


def _indented(lines: Iterable[str], step: int) -> Iterator[str]:
    return (" " * step + line if line else line for line in lines)


def sorted_keys(value: Any) -> Any:
    """`value` with the keys of its mappings sorted as Go sorts them."""
    if isinstance(value, dict):
        return {key: sorted_keys(value[key]) for key in sorted(value, key=_key_order)}
    return [sorted_keys(item) for item in value] if isinstance(value, list) else value


def _key_order(key: Any) -> list[tuple[int, int]]:
    """Punctuation before numbers before letters, numbers by value."""
    parts = re.findall(r"\d+|\D", str(key))
    return [(1, int(p)) if p.isdigit() else (2 * p.isalpha(), ord(p)) for p in parts]


def _scalar(value: Any) -> str:
    """One value in YAML; a block's lines are not indented yet."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return go_float(value)
    if isinstance(value, datetime):
        return rfc3339(value)
    return "null" if value is None else str(value)


def _text(text: str) -> str:
    """Plain if that reads back as the same text in YAML 1.1 and 1.2, else quoted; text of several
    lines as a block."""
    if "\n" in text and not re.search(r"^\s|[^\S\n]\n|[^\S\n]$|[^\n\t\x20-\x7e\xa0-\ud7ff]", text):
        newlines = len(text) - len(text.rstrip("\n"))
        chomp = "-" if not newlines else "" if newlines == 1 else "+"
        return f"|{chomp}\n" + text.removesuffix("\n")
    if resolve(text) != text or _LEGACY.fullmatch(text):
        return _quoted(text, '"')
    return _quoted(text, None)


# Words and numbers that are not text in YAML 1.1.
_LEGACY = re.compile(r"(?i)y|n|yes|no|on|off|=|<<|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")


def _quoted(text: str, style: str | None) -> str:
    dumped: str = yaml.dump(
        text, Dumper=_DUMPER, default_style=style, width=1 << 30, allow_unicode=True
    )
    return dumped.removesuffix("\n...\n").rstrip("\n")  # the mark of the end of the document


_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def go_float(number: float) -> str:
    """`number` as yaml.v3 writes it: Go's `strconv.FormatFloat(number, 'g', -1, 64)`."""
    if not math.isfinite(number):
        return ".nan" if math.isnan(number) else "-.inf" if number < 0 else ".inf"
    digits = Decimal(repr(number)).normalize()
    exponent = digits.adjusted() if number else 0
    if -4 <= exponent < 6:
        return f"{digits:f}"
    mantissa = digits.scaleb(-exponent)
    return f"{mantissa:f}e{exponent:+03d}"


def rfc3339(moment: datetime) -> str:
    """`moment` as Go's `time.RFC3339Nano` writes it."""
    text = re.sub(r"(\.\d*?)0+(?=[+-])", r"\1", moment.isoformat())
    return re.sub(r"\+00:00$", "Z", text)
