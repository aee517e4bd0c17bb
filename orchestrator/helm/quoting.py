"""Go's strconv.Quote, and the floating-point formats of strconv.FormatFloat."""

from __future__ import annotations

import math

ESCAPES = {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
    "\\": "\\\\",
}


def quote(text: str, mark: str = '"', *, ascii_only: bool = False) -> str:
    """`text` as a Go constant in quotes `mark`."""
    return mark + "".join(escape(char, mark, ascii_only=ascii_only) for char in text) + mark


def escape(char: str, mark: str, *, ascii_only: bool) -> str:
    if char == mark:
        return "\\" + char
    if char in ESCAPES:
        return ESCAPES[char]
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if char.isprintable() and (code < 128 or not ascii_only):
        return char
    if code < 32 or code == 127:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def can_backquote(text: str) -> bool:
    return all(
        char == "\t"
        or (char >= " " and char not in "`\x7f\ufeff" and not "\ud800" <= char < "\ue000")
        for char in text
    )


def format_float(value: float, verb: str = "g", precision: int = -1) -> str:
    """strconv.FormatFloat: `precision` -1 is the fewest digits that identify `value`."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if verb in "xX":
        text = _hexadecimal(value, precision)
        return text.upper() if verb == "X" else text
    if verb == "b":
        return _binary(value)
    if precision >= 0:
        return format(value, f".{precision}{verb}")
    return _shortest(value, verb)


def _shortest(value: float, verb: str) -> str:
    sign = "-" if math.copysign(1, value) < 0 else ""
    digits, exponent = _decimal(abs(value))
    if verb in "eE" or (verb in "gG" and not -4 <= exponent < 6):
        return sign + _scientific(digits, exponent, "E" if verb in "EG" else "e")
    return sign + _plain(digits, exponent)


def _decimal(value: float) -> tuple[str, int]:
    """The shortest digits of `value`, and the power of ten of the first one."""
    mantissa, _, exponent = repr(value).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    power = int(exponent or 0) + len(whole) - 1
    if not whole.strip("0"):
        power -= len(whole + fraction) - len(digits)
    return digits.rstrip("0") or "0", power if digits.strip("0") else 0


def _scientific(digits: str, exponent: int, letter: str) -> str:
    point = "." if len(digits) > 1 else ""
    return (
        f"{digits[0]}{point}{digits[1:]}{letter}{'-' if exponent < 0 else '+'}{abs(exponent):02d}"
    )


def _plain(digits: str, exponent: int) -> str:
    if exponent < 0:
        return "0." + "0" * (-exponent - 1) + digits
    whole, fraction = digits[: exponent + 1], digits[exponent + 1 :]
    return whole.ljust(exponent + 1, "0") + ("." + fraction if fraction else "")


def _hexadecimal(value: float, precision: int) -> str:
    sign = "-" if math.copysign(1, value) < 0 else ""
    mantissa, exponent = math.frexp(abs(value))
    if not mantissa:
        zeros = "." + "0" * precision if precision > 0 else ""
        return f"{sign}0x0{zeros}p+00"
    bits, shift = int(mantissa * 2**53), exponent - 1  # 1 and 52 bits of fraction
    if 0 <= precision < 13:
        unit = 1 << (52 - 4 * precision)
        rest, bits = bits % unit, bits - bits % unit
        if rest * 2 > unit or (rest * 2 == unit and bits // unit % 2):
            bits += unit
        if bits >> 53:
            bits, shift = bits >> 1, shift + 1
    fraction = f"{bits & (2**52 - 1):013x}"
    fraction = fraction.rstrip("0") if precision < 0 else fraction[:precision].ljust(precision, "0")
    point = "." if fraction else ""
    return f"{sign}0x1{point}{fraction}p{'-' if shift < 0 else '+'}{abs(shift):02d}"


def _binary(value: float) -> str:
    sign = "-" if math.copysign(1, value) < 0 else ""
    mantissa, exponent = math.frexp(abs(value))
    if not mantissa:
        return f"{sign}0p-1074"
    exponent = max(exponent - 53, -1074)
    return f"{sign}{int(math.ldexp(abs(value), -exponent))}p{exponent:+d}"
