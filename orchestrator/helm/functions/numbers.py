"""Sprig's arithmetic. Integers are int64 and wrap around; values that are not numbers are 0."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from orchestrator.helm.errors import FunctionError
from orchestrator.helm.literals import INT64_MAX, INT64_MIN, parse_float, parse_int
from orchestrator.helm.printing import to_text
from orchestrator.helm.signature import Function
from orchestrator.helm.values import Int64, Opaque, Sized

if TYPE_CHECKING:
    from fractions import Fraction
PLACES = 10**16
DECIMAL_TEXT = re.compile(r"(?P<whole>[-+]?[0-9]*)\.[0-9]*")


def to_int(value: object) -> int:
    """spf13/cast's ToInt: texts in Go's integer syntax, fractions are cut off."""
    match value:
        case bool():
            return int(value)
        case Opaque() if not is_calendar(value):
            return 0
        case int():
            return int(Int64.wrap(value))
        case float():
            return int_of_float(value)
        case str():
            return int_of_text(value)
    return 0


def is_calendar(value: object) -> bool:
    from orchestrator.helm.gotime import Duration, Month, Weekday

    return isinstance(value, Month | Weekday | Duration)


def int_of_float(value: float) -> int:
    """Convert like the processor: a value out of range becomes the smallest int64."""
    if math.isfinite(value) and INT64_MIN <= value < INT64_MAX:
        return int(value)
    return INT64_MIN


def int_of_text(text: str) -> int:
    found = DECIMAL_TEXT.fullmatch(text)
    if found:
        text = found["whole"] + ("0" if found["whole"] in ("", "+", "-") else "")
    number = parse_int(text)
    return number if number is not None and INT64_MIN <= number <= INT64_MAX else 0


def to_float(value: object) -> float:
    match value:
        case bool():
            return float(value)
        case Opaque() if not is_calendar(value):
            return 0.0
        case int() | float():
            return float(value)
        case str():
            return float_of_text(value)
    return 0.0


INFINITIES = {"inf": math.inf, "infinity": math.inf, "nan": math.nan}


def float_of_text(text: str) -> float:
    bare = text.lstrip("+-") if len(text) - len(text.lstrip("+-")) <= 1 else ""
    if bare.lower() in INFINITIES:
        return -INFINITIES[bare.lower()] if text[0] == "-" else INFINITIES[bare.lower()]
    number = parse_float(text)
    return 0.0 if number is None else number


def int64(value: object) -> Int64:
    return Int64(to_int(value))


def int_(value: object) -> int:
    return to_int(value)


def float64(value: object) -> float:
    return to_float(value)


def atoi(text: str) -> int:
    if not re.fullmatch(r"[-+]?[0-9]+", text, re.ASCII) or len(text) > 4000:
        return 0
    return min(max(int(text), INT64_MIN), INT64_MAX)


def to_decimal(value: object) -> Int64:
    """The octal digits of `value` as a number."""
    text = to_text(value)
    if not re.fullmatch(r"[-+]?[0-7]+", text) or len(text) > 100:
        return Int64(0)
    number = int(text, 8)
    return Int64(number if INT64_MIN <= number <= INT64_MAX else 0)


def add(*values: object) -> Sized:
    return Int64.wrap(sum(map(to_int, values)))


def add1(value: object) -> Sized:
    return Int64.wrap(to_int(value) + 1)


def sub(one: object, other: object) -> Sized:
    return Int64.wrap(to_int(one) - to_int(other))


def mul(first: object, *rest: object) -> Sized:
    product = to_int(first)
    for value in rest:
        product = int(Int64.wrap(product * to_int(value)))
    return Int64(product)


def div(one: object, other: object) -> Sized:
    """Towards zero."""
    dividend, divisor = to_int(one), nonzero(to_int(other))
    quotient = abs(dividend) // abs(divisor)
    return Int64.wrap(quotient if (dividend < 0) == (divisor < 0) else -quotient)


def mod(one: object, other: object) -> Sized:
    """The remainder has the sign of the dividend."""
    dividend, divisor = to_int(one), nonzero(to_int(other))
    remainder = abs(dividend) % abs(divisor)
    return Int64(remainder if dividend >= 0 else -remainder)


def nonzero(divisor: int) -> int:
    if divisor == 0:
        raise FunctionError("integer divide by zero")
    return divisor


def max_(first: object, *rest: object) -> Int64:
    return Int64(max(map(to_int, (first, *rest))))


def min_(first: object, *rest: object) -> Int64:
    return Int64(min(map(to_int, (first, *rest))))


def maxf(first: object, *rest: object) -> float:
    numbers = [to_float(value) for value in (first, *rest)]
    return math.nan if any(map(math.isnan, numbers)) else max(numbers, key=by_size)


def minf(first: object, *rest: object) -> float:
    numbers = [to_float(value) for value in (first, *rest)]
    return math.nan if any(map(math.isnan, numbers)) else min(numbers, key=by_size)


def by_size(number: float) -> tuple[float, float]:
    """A zero keeps its sign."""
    return number, math.copysign(1, number)


# Floats are calculated as the decimal numbers that they print as, so that 0.1 + 0.2 is 0.3; a
# quotient has 16 places.


def addf(*values: object) -> float:
    return fold(operator.add, 0.0, values)


def add1f(value: object) -> float:
    return fold(operator.add, value, (1,))


def subf(first: object, *rest: object) -> float:
    return fold(operator.sub, first, rest)


def mulf(first: object, *rest: object) -> float:
    return fold(operator.mul, first, rest)


def divf(first: object, *rest: object) -> float:
    return fold(quotient, first, rest)


def fold(
    operation: Callable[[Fraction, Fraction], Fraction], first: object, rest: tuple[object, ...]
) -> float:
    result = exact(first)
    for value in rest:
        result = operation(result, exact(value))
    try:
        return float(result)
    except OverflowError:
        return math.inf if result > 0 else -math.inf


def exact(value: object) -> Fraction:
    from fractions import Fraction

    number = to_float(value)
    if not math.isfinite(number):
        raise FunctionError(f"Cannot create a Decimal from {to_text(number)}")
    return Fraction(repr(number))


def quotient(one: Fraction, other: Fraction) -> Fraction:
    from fractions import Fraction

    if not other:
        raise FunctionError("decimal division by 0")
    scaled = one / other * PLACES
    whole, rest = divmod(abs(scaled.numerator), scaled.denominator)
    rounded = whole + (2 * rest >= scaled.denominator)
    return Fraction(rounded if scaled >= 0 else -rounded, PLACES)


def floor(value: object) -> float:
    return whole(math.floor, to_float(value))


def ceil(value: object) -> float:
    return whole(math.ceil, to_float(value))


def whole(rounding: Callable[[float], int], number: float) -> float:
    """Rounded to a whole number with the same sign, even for zero."""
    if not math.isfinite(number):
        return number
    return (
        math.copysign(abs(rounding(number)), number)
        if -1 < number <= 0
        else float(rounding(number))
    )


def round_(value: object, places: int, *half: float) -> float:
    """Rounded to so many places, up from `half`, by default 0.5."""
    power = power_of_ten(places)
    digit = power * to_float(value)
    if not math.isfinite(digit):
        return digit / power
    up = math.modf(digit)[0] >= (half[0] if half else 0.5)
    rounded = whole(math.ceil if up else math.floor, digit)
    return rounded / power if power else math.nan


def power_of_ten(places: int) -> float:
    try:
        return 10.0**places
    except OverflowError:
        return math.inf


FUNCTIONS: Mapping[str, Function] = {
    "add": add,
    "add1": add1,
    "add1f": add1f,
    "addf": addf,
    "atoi": atoi,
    "biggest": max_,
    "ceil": ceil,
    "div": div,
    "divf": divf,
    "float64": float64,
    "floor": floor,
    "int": int_,
    "int64": int64,
    "max": max_,
    "maxf": maxf,
    "min": min_,
    "minf": minf,
    "mod": mod,
    "mul": mul,
    "mulf": mulf,
    "round": round_,
    "sub": sub,
    "subf": subf,
    "toDecimal": to_decimal,
}
