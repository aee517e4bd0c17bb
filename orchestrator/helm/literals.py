"""Constants of the template language: strings, characters and numbers in Go's syntax."""

from __future__ import annotations

import re

from orchestrator.helm import ast
from orchestrator.helm.errors import SyntaxProblem
from orchestrator.helm.lexer import T, Token

ESCAPE = re.compile(
    r"\\(?:(?P<simple>[abfnrtv\\'\"])|(?P<octal>[0-7]{3})|x(?P<byte>[0-9a-fA-F]{2})"
    r"|u(?P<short>[0-9a-fA-F]{4})|U(?P<long>[0-9a-fA-F]{8})|(?P<bad>.|$))",
    re.DOTALL,
)
SIMPLE = {
    "a": 7,
    "b": 8,
    "f": 12,
    "n": 10,
    "r": 13,
    "t": 9,
    "v": 11,
    "\\": 92,
    "'": 39,
    '"': 34,
}
INT64_MIN, INT64_MAX, UINT64_MAX = -(2**63), 2**63 - 1, 2**64 - 1
INTEGER = re.compile(
    r"(?P<sign>[+-]?)(?P<digits>0[xX](_?[0-9a-fA-F])+|0[bB](_?[01])+|0[oO](_?[0-7])+"
    r"|0(_?[0-7])*|[1-9](_?[0-9])*)"
)
DIGITS = r"[0-9](?:_?[0-9])*"
HEX_DIGITS = r"[0-9a-fA-F](?:_?[0-9a-fA-F])*"
FLOAT = re.compile(
    rf"[+-]?(?:(?P<hex>0[xX](?:_?{HEX_DIGITS}\.?(?:{HEX_DIGITS})?|\.{HEX_DIGITS})[pP][+-]?{DIGITS})"
    rf"|(?:{DIGITS}\.?(?:{DIGITS})?|\.{DIGITS})(?:[eE][+-]?{DIGITS})?)"
)


def unquote(token: Token) -> str:
    """The value of a string constant. Bytes that are not UTF-8 become surrogates."""
    if token.kind is T.RAWSTRING:
        return token.text[1:-1].replace("\r", "")
    return unescape(token.text[1:-1], token.pos, quote='"')


def unescape(text: str, pos: int, quote: str) -> str:
    if "\\" not in text:
        return text
    other = "'" if quote == '"' else '"'

    def value(found: re.Match[str]) -> bytes:
        if found["bad"] is not None or found["simple"] == other:
            raise SyntaxProblem(f"invalid escape {found[0]} in {quote}{text}{quote}", pos)
        return escaped(found, pos)

    pieces: list[bytes] = []
    end = 0
    for found in ESCAPE.finditer(text):
        pieces += text[end : found.start()].encode("utf-8", "surrogateescape"), value(found)
        end = found.end()
    pieces.append(text[end:].encode("utf-8", "surrogateescape"))
    return b"".join(pieces).decode("utf-8", "surrogateescape")


def escaped(found: re.Match[str], pos: int) -> bytes:
    """The bytes of one escape: `\\x` and octal are a byte, `\\u` a character."""
    if found["simple"]:
        return bytes([SIMPLE[found["simple"]]])
    if code := found["short"] or found["long"]:
        return rune(int(code, 16), found[0], pos).encode()
    byte = int(found["octal"], 8) if found["octal"] else int(found["byte"], 16)
    if byte > 255:
        raise SyntaxProblem(f"escape {found[0]} is more than a byte", pos)
    return bytes([byte])


def rune(code: int, text: str, pos: int) -> str:
    if code > 0x10FFFF or 0xD800 <= code < 0xE000:
        raise SyntaxProblem(f"escape {text} is not a Unicode character", pos)
    return chr(code)


def number(token: Token) -> ast.Number:
    """The node of a number or character constant, in every type that can hold it."""
    if token.kind is T.CHARCONST:
        code = character(token)
        return ast.Number(token.pos, token.text, code, code, float(code))
    if token.kind is T.COMPLEX:
        return complex_number(token)
    if token.text.endswith("i") and (imaginary := parse_float(token.text[:-1])) is not None:
        return simplified(token, complex(0, imaginary))
    return real_number(token)


def character(token: Token) -> int:
    inner = token.text[1:-1]
    found = ESCAPE.match(inner)
    if found and (byte := found["octal"] or found["byte"]):
        code = int(byte, 8 if found["octal"] else 16)
        inner = "" if found.end() != len(inner) or code > 255 else chr(code)
    else:
        inner = unescape(inner, token.pos, quote="'")
    if len(inner) != 1:
        raise SyntaxProblem(f"malformed character constant: {token.text}", token.pos)
    return ord(inner)


def complex_number(token: Token) -> ast.Number:
    sign = max(token.text.rfind("+"), token.text.rfind("-"))
    if token.text[sign - 1] in "eEpP":
        sign = max(token.text.rfind("+", 0, sign), token.text.rfind("-", 0, sign))
    real, imaginary = parse_float(token.text[:sign]), parse_float(token.text[sign:-1])
    if real is None or imaginary is None:
        raise bad_number(token)
    return simplified(token, complex(real, imaginary))


def simplified(token: Token, value: complex) -> ast.Number:
    """A complex constant without an imaginary part is also a real one."""
    if value.imag:
        return ast.Number(token.pos, token.text, imaginary=value)
    real = value.real
    integer = int(real) if real.is_integer() and INT64_MIN <= real <= INT64_MAX else None
    unsigned = integer if integer is not None and integer >= 0 else None
    return ast.Number(token.pos, token.text, integer, unsigned, real, value)


def real_number(token: Token) -> ast.Number:
    text = token.text
    value = parse_int(text)
    if value is not None and INT64_MIN <= value <= UINT64_MAX:
        integer = value if value <= INT64_MAX else None
        unsigned = value if value >= 0 and text[0] != "+" else None
        if value == 0:
            unsigned = 0
        return ast.Number(token.pos, text, integer, unsigned, float(value))
    real = parse_float(text)
    if real is None:
        raise bad_number(token)
    if not any(sign in text for sign in ".eEpP"):
        raise SyntaxProblem(f'integer overflow: "{text}"', token.pos)
    integer = int(real) if real.is_integer() and INT64_MIN <= real <= INT64_MAX else None
    unsigned = int(real) if real.is_integer() and 0 <= real <= UINT64_MAX else None
    return ast.Number(token.pos, text, integer, unsigned, real)


def bad_number(token: Token) -> SyntaxProblem:
    return SyntaxProblem(f'illegal number syntax: "{token.text}"', token.pos)


def parse_int(text: str) -> int | None:
    """An integer in Go's syntax: `0x`, `0o`, `0b`, a leading 0 for octal, `_` between digits."""
    found = INTEGER.fullmatch(text)
    if not found or len(text) > 100:
        return None
    digits = found["digits"].replace("_", "")
    if len(digits) > 1 and digits[0] == "0" and digits[1].isdigit():
        digits = "0o" + digits[1:]
    return int(found["sign"] + digits, 0)


def parse_float(text: str) -> float | None:
    """A float in Go's syntax; None if it is not a float, or too large."""
    found = FLOAT.fullmatch(text)
    if not found:
        return None
    bare = text.replace("_", "")
    try:
        value = float.fromhex(bare) if found["hex"] else float(bare)
    except (OverflowError, ValueError):
        return None
    return None if value in (float("inf"), float("-inf")) else value
