"""Mutants of the ledger's Lua scripts.

Works on tokens, not on a syntax tree: what it makes of an unusual line may be no Lua at all, so
whoever runs the mutants asks Redis first which of them it can compile.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    r"(?P<comment>--[^\n]*)|(?P<newline>\n)|(?P<space>[ \t]+)|(?P<string>'[^']*'|\"[^\"]*\")"
    r"|(?P<name>[A-Za-z_]\w*)|(?P<number>\d+(?:\.\d+)?)"
    r"|(?P<operator>\.\.\.|\.\.|==|~=|<=|>=|[-+*/%^#<>=(){}\[\];:,.])"
)

COMPARISONS = {
    "==": ("~=",),
    "~=": ("==",),
    "<": ("<=", ">="),
    ">": (">=", "<="),
    "<=": ("<", ">"),
    ">=": (">", "<"),
}
ARITHMETIC = {"+": "-", "-": "+", "*": "/"}
_BEGIN = {"if", "elseif", "while", "until", "return", "=", "(", "{", "[", ","}
_END = {"then", "do", "end", "else", ")", "}", "]", ",", ";"}
_OPEN, _CLOSE = {"(", "{", "["}, {")", "}", "]"}
_GOES_ON = {"and", "or", "not", "..", *COMPARISONS, *ARITHMETIC, *_BEGIN}
_OPTIONS = {"'NX'", "'XX'"}
_EMPTY_BLOCK = "do end"


@dataclass(frozen=True, slots=True)
class Token:
    text: str
    kind: str
    start: int
    end: int
    first: bool  # of its line


def tokens_of(text: str) -> list[Token]:
    """The tokens that mean something."""
    found: list[Token] = []
    first = True
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or ""
        if kind in ("comment", "space"):
            continue
        if kind == "newline":
            first = True
            continue
        found.append(Token(match[0], kind, match.start(), match.end(), first))
        first = False
    return found


def mutations(text: str) -> Iterator[str]:
    """`text` with one thing changed, for each thing worth changing; some may not be Lua."""
    tokens = tokens_of(text)
    yield from _conditions_negated(text, tokens)
    yield from _operands_dropped(text, tokens)
    yield from _operators_changed(text, tokens)
    yield from _calls_removed(text, tokens)
    yield from _options_dropped(text, tokens)


def _replaced(text: str, start: int, end: int, by: str) -> str:
    return text[:start] + by + text[end:]


def _conditions_negated(text: str, tokens: list[Token]) -> Iterator[str]:
    """Each condition negated, unless changing its one operator does the same."""
    for index, token in enumerate(tokens):
        if token.text in ("if", "elseif"):
            length = [later.text for later in tokens[index:]].index("then")
            words = [later.text for later in tokens[index + 1 : index + length]]
            if {"and", "or"} & {*words} or not {"not", *COMPARISONS} & {*words}:
                end = tokens[index + length].start
                condition = text[token.end : end].strip()
                yield _replaced(text, token.end, end, f" not ({condition}) ")


def _operands_dropped(text: str, tokens: list[Token]) -> Iterator[str]:
    """Each operand of `and` and `or` left out: the right one, and the left one of the first."""
    for index, token in enumerate(tokens):
        if token.text not in ("and", "or"):
            continue
        left, right = _left(tokens, index), _right(tokens, index)
        before = tokens[left - 1].text if left else ""
        if before not in ("and", "or"):
            yield _replaced(text, tokens[left].start, tokens[index + 1].start, "")
        yield _replaced(text, tokens[index - 1].end, tokens[right].end, "")


def _left(tokens: list[Token], index: int) -> int:
    """Where the operand before the operator at `index` begins."""
    depth = 0
    for place in range(index - 1, -1, -1):
        text = tokens[place].text
        depth += (text in _CLOSE) - (text in _OPEN)
        if depth < 0 or (not depth and (text in _BEGIN - _OPEN or text in ("and", "or"))):
            return place + 1
    return 0


def _right(tokens: list[Token], index: int) -> int:
    """Where the operand after the operator at `index` ends."""
    depth = 0
    for place in range(index + 1, len(tokens)):
        token = tokens[place]
        if not depth and (token.text in _END or token.text in ("and", "or")):
            return place - 1
        if not depth and token.first and tokens[place - 1].text not in _GOES_ON | _OPEN:
            return place - 1
        depth += (token.text in _OPEN) - (token.text in _CLOSE)
    return len(tokens) - 1


def _operators_changed(text: str, tokens: list[Token]) -> Iterator[str]:
    other = {"and": ("or",), "or": ("and",), "not": ("",), **COMPARISONS}
    other |= {sign: (opposite,) for sign, opposite in ARITHMETIC.items()}
    for token in tokens:
        for by in other.get(token.text, ()):
            yield _replaced(text, token.start, token.end, by)


def _calls_removed(text: str, tokens: list[Token]) -> Iterator[str]:
    """Each call that is a statement left out, and each pair of fields that one sets."""
    for index, token in enumerate(tokens):
        opening = _call(tokens, index)
        if opening is None:
            continue
        closing = _closing(tokens, opening)
        yield _replaced(text, token.start, tokens[closing].end, _EMPTY_BLOCK)
        if token.text == "set":
            yield from _fields_dropped(text, tokens, opening, closing)


def _call(tokens: list[Token], index: int) -> int | None:
    """The opening bracket of the call that is the statement beginning at `index`, if one does."""
    token = tokens[index]
    if not token.first or token.kind != "name":
        return None
    if index and tokens[index - 1].text in _GOES_ON:
        return None
    place = index + 1
    while place < len(tokens) - 1 and tokens[place].text == ".":
        place += 2
    return place if place < len(tokens) and tokens[place].text == "(" else None


def _closing(tokens: list[Token], opening: int) -> int:
    depth = 0
    for place in range(opening, len(tokens)):
        depth += (tokens[place].text in _OPEN) - (tokens[place].text in _CLOSE)
        if not depth:
            return place
    raise ValueError(f"no bracket closes the one at {tokens[opening].start}")


def _fields_dropped(text: str, tokens: list[Token], opening: int, closing: int) -> Iterator[str]:
    """Each field and value of `set(id, field, value, ...)`, if there is more than one pair."""
    commas: list[int] = []
    depth = 0
    for place in range(opening + 1, closing):
        depth += (tokens[place].text in _OPEN) - (tokens[place].text in _CLOSE)
        if not depth and tokens[place].text == ",":
            commas.append(tokens[place].start)
    bounds = [*commas, tokens[closing].start]
    if len(commas) > 2:
        for number in range(0, len(commas), 2):
            yield _replaced(text, bounds[number], bounds[min(number + 2, len(commas))], "")


def _options_dropped(text: str, tokens: list[Token]) -> Iterator[str]:
    for index, token in enumerate(tokens):
        if token.text in _OPTIONS:
            yield _replaced(text, token.start, tokens[index + 1].end, "")
