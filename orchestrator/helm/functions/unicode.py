"""Characters as in Go's package unicode: one-to-one case mapping, and its white space."""

from __future__ import annotations

import unicodedata

SPACES = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006"
    "\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)


def is_space(char: str) -> bool:
    return char in SPACES


def is_upper(char: str) -> bool:
    return unicodedata.category(char) == "Lu"


def is_lower(char: str) -> bool:
    return unicodedata.category(char) == "Ll"


def is_title(char: str) -> bool:
    return unicodedata.category(char) == "Lt"


def to_upper(char: str) -> str:
    """The upper-case character, if it is a single one: Go keeps an eszett."""
    upper = char.upper()
    if len(upper) == 1:
        return upper
    return char.title() if len(char.title()) == 1 else char


def to_lower(char: str) -> str:
    return char.lower()[0] if char == "\u0130" or len(char.lower()) == 1 else char


def to_title(char: str) -> str:
    title = char.title()
    return title if len(title) == 1 else char


def upper(text: str) -> str:
    return text.upper() if text.isascii() else "".join(map(to_upper, text))


def lower(text: str) -> str:
    return text.lower() if text.isascii() else "".join(map(to_lower, text))
