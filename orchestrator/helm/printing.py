"""Prints a value like Go's fmt: one verb, its flags, width and precision."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import NoneType

from orchestrator.helm.quoting import can_backquote, format_float, quote
from orchestrator.helm.values import (
    MAX_DEPTH,
    Map,
    NilPointer,
    NoValue,
    Opaque,
    Sized,
    Slice,
    Struct,
    from_bytes,
    kind_of,
    octets,
    sorted_keys,
    to_bytes,
    too_deep,
    type_of,
)


@dataclass(frozen=True, slots=True)
class Flags:
    """The part between `%` and the verb. `go_syntax` is `%#v`, `names` is `%+v`."""

    plus: bool = False
    minus: bool = False
    sharp: bool = False
    space: bool = False
    zero: bool = False
    go_syntax: bool = False
    names: bool = False
    width: int | None = None
    precision: int | None = None

    def pad(self, text: str, *, zeros: bool = True) -> str:
        """`text` padded to the width."""
        missing = (self.width or 0) - len(text)
        if missing <= 0:
            return text
        if self.minus:
            return text + " " * missing
        return ("0" if self.zero and zeros else " ") * missing + text


PLAIN = Flags()


def to_text(value: object) -> str:
    """`value` as an action prints it, which is `%v`."""
    if isinstance(value, str):
        return value
    if isinstance(value, NoValue):
        return "<no value>"
    return format_value(value, "v", PLAIN)


def format_value(value: object, verb: str, flags: Flags, depth: int = 0) -> str:
    """`value` printed with `verb`, or Go's error text if the verb does not apply."""
    if depth > MAX_DEPTH:
        raise too_deep()
    if verb == "T":
        return flags.pad("<nil>" if value is None else truncated(type_of(value), flags))
    if verb == "p":
        return format_pointer(value, flags)
    if verb == "w" and not depth and value is not None:
        return bad(value, verb, flags)  # it is for errors only
    if isinstance(value, Opaque):
        return format_opaque(value, verb, flags, depth)
    for python_type, scalar in SCALARS:
        if isinstance(value, python_type):
            return scalar(value, verb, flags)
    for python_type, nested in NESTED:
        if isinstance(value, python_type):
            return nested(value, verb, flags, depth)
    raise TypeError(f"{type(value).__name__} is not a value of a template")


def format_nil(_: NoValue | None, verb: str, flags: Flags, depth: int) -> str:
    if depth:
        return "interface {}(nil)" if flags.go_syntax else "<nil>"
    return flags.pad("<nil>") if verb == "v" else f"%!{verb}(<nil>)"


def format_bool(value: bool, verb: str, flags: Flags) -> str:  # noqa: FBT001
    return flags.pad("true" if value else "false") if verb in "tv" else bad(value, verb, flags)


def bad(value: object, verb: str, flags: Flags) -> str:
    """Go's error text for a verb that does not apply; it does not call methods."""
    shown = value.inside() if isinstance(value, Opaque) else value
    return f"%!{verb}({type_of(value)}={format_value(shown, 'v', flags)})"


def truncated(text: str, flags: Flags) -> str:
    return text if flags.precision is None else text[: flags.precision]


def format_string(text: str, verb: str, flags: Flags) -> str:
    match verb:
        case "v" if flags.go_syntax:
            return format_quoted(text, flags)
        case "v" | "s":
            return flags.pad(truncated(text, flags))
        case "q":
            return format_quoted(text, flags)
        case "x" | "X":
            return format_bytes(to_bytes(text), verb, flags)
    return bad(text, verb, flags)


def format_quoted(text: str, flags: Flags) -> str:
    text = truncated(text, flags)
    if flags.sharp and can_backquote(text):
        return flags.pad(f"`{text}`")
    return flags.pad(quote(text, ascii_only=flags.plus))


def format_bytes(data: bytes, verb: str, flags: Flags) -> str:
    """Bytes in hexadecimal; the space flag separates them, `#` adds `0x`."""
    data = data if flags.precision is None else data[: flags.precision]
    prefix = ("0x" if verb == "x" else "0X") if flags.sharp and data else ""
    spaced = " ".join(f"{prefix}{byte:02x}" for byte in data)
    text = spaced if flags.space else prefix + data.hex()
    return flags.pad(text.upper() if verb == "X" else text)


BASES = {"v": 10, "d": 10, "b": 2, "o": 8, "O": 8, "x": 16, "X": 16}
DIGITS = {2: "b", 8: "o", 10: "d", 16: "x"}


def format_integer(value: int, verb: str, flags: Flags) -> str:
    if verb in BASES:
        if verb == "v" and flags.go_syntax and isinstance(value, Sized) and not value.signed:
            return in_base(int(value), 16, "x", replace(flags, sharp=True))
        return in_base(int(value), BASES[verb], verb, flags)
    character = chr(value) if 0 <= value <= 0x10FFFF and not 0xD800 <= value < 0xE000 else "\ufffd"
    match verb:
        case "c":
            return flags.pad(character)
        case "q":
            return flags.pad(quote(character, "'", ascii_only=flags.plus))
        case "U":
            return format_code_point(value, character, flags)
    return bad(value, verb, flags)


def in_base(value: int, base: int, verb: str, flags: Flags) -> str:
    """Digits, padded to the precision, or to the width with the flag `0`."""
    if flags.precision == 0 and value == 0:
        return " " * (flags.width or 0)
    sign = "-" if value < 0 else "+" if flags.plus else " " if flags.space else ""
    least = flags.precision or 0
    if flags.precision is None and flags.zero and not flags.minus:
        least = (flags.width or 0) - len(sign)
    digits = format(abs(value), DIGITS[base]).rjust(least, "0")
    if verb == "X":
        digits = digits.upper()
    return flags.pad(sign + prefix_of(digits, base, verb, flags) + digits, zeros=False)


def prefix_of(digits: str, base: int, verb: str, flags: Flags) -> str:
    if base == 8:
        octal = "0" if flags.sharp and digits[0] != "0" else ""
        return "0o" + octal if verb == "O" else octal
    if not flags.sharp:
        return ""
    return {2: "0b", 10: "", 16: "0X" if verb == "X" else "0x"}[base]


def format_code_point(value: int, character: str, flags: Flags) -> str:
    digits = format(value & (2**64 - 1), "X").rjust(max(flags.precision or 0, 4), "0")
    shown = flags.sharp and 0 <= value <= 0x10FFFF and character.isprintable()
    return flags.pad(f"U+{digits} '{character}'" if shown else f"U+{digits}", zeros=False)


FLOAT_VERBS = {"v": "g", "F": "f"}


def format_real(value: float, verb: str, flags: Flags) -> str:
    if verb not in "vbgGxXfFeE":
        return bad(value, verb, flags)
    precision = 6 if verb in "fFeE" else -1
    if flags.precision is not None:
        precision = flags.precision
    go_verb = FLOAT_VERBS.get(verb, verb)
    text = format_float(value, go_verb, precision)
    if text[0] not in "+-":
        text = "+" + text
    if flags.space and text[0] == "+" and not flags.plus:
        text = " " + text[1:]
    if not math.isfinite(value):
        bare = text[1:] if text[1] == "N" and not flags.space and not flags.plus else text
        return flags.pad(bare, zeros=False)
    if flags.sharp and verb != "b":
        text = with_point(text, go_verb, precision)
    return pad_signed(text, flags)


def pad_signed(text: str, flags: Flags) -> str:
    """Pad with zeros between the sign and the digits."""
    if text[0] == "+" and not flags.plus:
        return flags.pad(text[1:])
    if flags.zero and not flags.minus and (flags.width or 0) > len(text):
        return text[0] + text[1:].rjust((flags.width or 0) - 1, "0")
    return flags.pad(text)


def with_point(text: str, verb: str, precision: int) -> str:
    """The flag `#`: always a decimal point, and `%g` keeps trailing zeros."""
    marks = "pP" if verb in "xX" else "eEpP"
    cut = next((i for i, char in enumerate(text) if i and char in marks), len(text))
    number, tail = text[:cut], text[cut:]
    digits = 0
    if verb in "gGx":
        digits = 6 if precision == -1 else precision
    counted = number[number.find("x") :] if "x" in number else number[1:].lstrip("0.")
    significant = counted.replace(".", "")
    digits -= len(significant)
    if "." not in number:
        digits -= number[1:] == "0"
        number += "."
    return number + "0" * max(digits, 0) + tail


def format_complex(value: complex, verb: str, flags: Flags) -> str:
    if verb not in "vbgGxXfFeE":
        return bad(value, verb, flags)
    imaginary = format_real(value.imag, verb, replace(flags, plus=True))
    return f"({format_real(value.real, verb, flags)}{imaginary}i)"


def format_opaque(value: Opaque, verb: str, flags: Flags, depth: int) -> str:
    """A value with a `String` method is printed by it, for the verbs for strings."""
    if verb == "v" and flags.go_syntax:
        text = value.go_syntax()
        if text is None:
            return format_value(value.inside(), verb, flags, depth)
        return flags.pad(truncated(text, flags))
    if verb in "vsxXq":
        return format_string(str(value), verb, flags)
    if isinstance(value, int):
        return format_integer(value, verb, flags)
    return format_value(value.inside(), verb, flags, depth)


def format_map(value: dict[object, object], verb: str, flags: Flags, depth: int) -> str:
    opening, separator, closing = "map[", " ", "]"
    if flags.go_syntax:
        if isinstance(value, Map) and value.is_nil:
            return f"{type_of(value)}(nil)"
        opening, separator, closing = type_of(value) + "{", ", ", "}"
    pairs = (
        f"{format_value(key, verb, flags, depth + 1)}:"
        f"{format_value(value[key], verb, flags, depth + 1)}"
        for key in sorted_keys(value)
    )
    return opening + separator.join(pairs) + closing


def format_list(value: list[object], verb: str, flags: Flags, depth: int) -> str:
    if isinstance(value, Slice) and value.element == "uint8" and verb in "sqxX":
        data = octets(value)
        if verb in "xX":
            return format_bytes(data, verb, flags)
        return format_string(from_bytes(data), verb, flags)
    opening, separator, closing = "[", " ", "]"
    if flags.go_syntax:
        if isinstance(value, Slice) and value.is_nil:
            return f"{type_of(value)}(nil)"
        opening, separator, closing = type_of(value) + "{", ", ", "}"
    items = (format_value(item, verb, flags, depth + 1) for item in value)
    return opening + separator.join(items) + closing


def format_struct(value: Struct, verb: str, flags: Flags, depth: int) -> str:
    opening, separator = (type_of(value) + "{", ", ") if flags.go_syntax else ("{", " ")
    if value.go_type.startswith("*"):
        opening = "&" + opening.removeprefix("*")
    named = flags.go_syntax or flags.names
    items = (
        f"{name}:{text}" if named else text
        for name, text in (
            (name, format_value(item, verb, flags, depth + 1))
            for name, item in value.fields.items()
        )
    )
    return opening + separator.join(items) + "}"


SCALARS: tuple[tuple[type, Callable[..., str]], ...] = (
    (str, format_string),
    (bool, format_bool),
    (int, format_integer),
    (float, format_real),
    (complex, format_complex),
)


def format_nil_pointer(value: NilPointer, verb: str, flags: Flags, _: int) -> str:
    if verb == "v":
        return flags.pad("<nil>")
    return in_base(0, BASES[verb], verb, flags) if verb in "bodxX" else bad(value, verb, flags)


NESTED: tuple[tuple[type, Callable[..., str]], ...] = (
    (NoneType, format_nil),
    (NoValue, format_nil),
    (NilPointer, format_nil_pointer),
    (dict, format_map),
    (list, format_list),
    (Struct, format_struct),
)


def format_pointer(value: object, flags: Flags) -> str:
    """A pointer is printed as zero: the address is private and differs in every run."""
    if value is None or kind_of(value) not in ("slice", "map", "ptr"):
        return "%!p(<nil>)" if value is None else bad(value, "p", flags)
    return in_base(0, 16, "x", replace(flags, sharp=not flags.sharp))


def sprint(values: tuple[object, ...]) -> str:
    """fmt.Sprint: a space between two operands when neither is a string."""
    pieces: list[str] = []
    was_string = True
    for value in values:
        is_string = isinstance(value, str)
        if not (is_string or was_string):
            pieces.append(" ")
        pieces.append(format_value(value, "v", PLAIN))
        was_string = is_string
    return "".join(pieces)
