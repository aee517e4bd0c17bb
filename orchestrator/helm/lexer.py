"""Splits template text into tokens, as Go's text/template does.

Text is between actions, `{{ ... }}`. A `-` at a delimiter, followed by a space, trims the white
space of the text on that side. Positions count characters of the text from 0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from enum import Enum
from typing import NamedTuple

from orchestrator.helm.errors import SyntaxProblem


class T(Enum):
    """Kinds of token. The value is its name in error messages."""

    TEXT = "text"
    LEFT = "{{"
    RIGHT = "}}"
    SPACE = "space"
    ASSIGN = "="
    DECLARE = ":="
    PIPE = "|"
    LPAREN = "("
    RPAREN = ")"
    CHAR = "character"
    FIELD = "field"
    VARIABLE = "variable"
    IDENTIFIER = "name"
    BOOL = "boolean"
    NUMBER = "number"
    COMPLEX = "complex number"
    CHARCONST = "character constant"
    STRING = "string"
    RAWSTRING = "raw string"
    DOT = "."
    NIL = "nil"
    BLOCK = "block"
    BREAK = "break"
    CONTINUE = "continue"
    DEFINE = "define"
    ELSE = "else"
    END = "end"
    IF = "if"
    RANGE = "range"
    TEMPLATE = "template"
    WITH = "with"
    EOF = "end of the template"


KEYWORDS = {
    kind.value: kind
    for kind in (
        T.BLOCK,
        T.BREAK,
        T.CONTINUE,
        T.DEFINE,
        T.ELSE,
        T.END,
        T.IF,
        T.RANGE,
        T.NIL,
        T.TEMPLATE,
        T.WITH,
    )
} | {"true": T.BOOL, "false": T.BOOL}

SIGNS = {"=": T.ASSIGN, "|": T.PIPE, "(": T.LPAREN, ")": T.RPAREN}

BLANKS = " \t\r\n"
OPENING = re.compile(r"\{\{(?P<trim>-(?=[ \t\r\n]))?")
CLOSING = re.compile(r"(?P<trim>[ \t\r\n]-)?\}\}")
COMMENT = re.compile(r"[ \t\r\n]?/\*.*?\*/", re.DOTALL)
QUOTED = re.compile(r'"(?:[^"\\\n]|\\[^\n])*"')
CHARACTER = re.compile(r"'(?:[^'\\\n]|\\[^\n])*'")
RAW = re.compile(r"`[^`]*`")
NUMERAL = re.compile(
    r"[+-]?(?:0[xX][0-9a-fA-F_]*(?:\.[0-9a-fA-F_]*)?(?:[pP][+-]?[0-9_]*)?"
    r"|0[oO][0-7_]*(?:\.[0-7_]*)?|0[bB][01_]*(?:\.[01_]*)?"
    r"|[0-9_]*(?:\.[0-9_]*)?(?:[eE][+-]?[0-9_]*)?)i?"
)


class Token(NamedTuple):
    kind: T
    text: str
    pos: int

    def __str__(self) -> str:
        if self.kind in (T.EOF, T.SPACE):
            return str(self.kind.value)
        return f'"{self.text if len(self.text) <= 20 else self.text[:20] + "..."}"'


def lex(text: str) -> Iterator[Token]:
    """The tokens of `text`, the last one `EOF`; `SyntaxProblem` if it is invalid."""
    return Lexer(text).tokens()


def is_name_character(char: str) -> bool:
    return char == "_" or char.isalpha() or char.isdecimal()


class Lexer:
    def __init__(self, text: str) -> None:
        self.text = text
        self.pos = 0

    def tokens(self) -> Iterator[Token]:
        while opening := OPENING.search(self.text, self.pos):
            yield from self.plain(opening.start(), trim=bool(opening["trim"]))
            self.pos = opening.end()
            if self.text.startswith("/*", self.pos + bool(opening["trim"])):
                self.comment(opening.start())
            else:
                yield Token(T.LEFT, "{{", opening.start())
                yield from self.action(opening.start())
        yield from self.plain(len(self.text), trim=False)
        yield Token(T.EOF, "", len(self.text))

    def plain(self, end: int, *, trim: bool) -> Iterator[Token]:
        text = self.text[self.pos : end]
        if text := text.rstrip(BLANKS) if trim else text:
            yield Token(T.TEXT, text, self.pos)

    def comment(self, start: int) -> None:
        found = COMMENT.match(self.text, self.pos)
        if not found:
            raise SyntaxProblem("unclosed comment", start, 'a comment ends with "*/}}"')
        closing = CLOSING.match(self.text, found.end())
        if not closing:
            raise SyntaxProblem(
                "comment ends before closing delimiter",
                found.end(),
                'nothing but "}}" or " -}}" may follow "*/"; a comment is a separate action',
            )
        self.close(closing)

    def close(self, closing: re.Match[str]) -> None:
        self.pos = closing.end()
        while closing["trim"] and self.pos < len(self.text) and self.text[self.pos] in BLANKS:
            self.pos += 1

    def action(self, start: int) -> Iterator[Token]:
        """The tokens up to and including the `}}` of the action that begins at `start`."""
        depth = 0
        while not (closing := CLOSING.match(self.text, self.pos)):
            if self.pos >= len(self.text):
                raise SyntaxProblem("unclosed action", start, 'every "{{" needs its "}}"')
            token = self.token()
            depth += (token.kind is T.LPAREN) - (token.kind is T.RPAREN)
            if depth < 0:
                raise SyntaxProblem("unexpected right paren", token.pos, "no ( is open here")
            yield token
        if depth:
            raise SyntaxProblem("unclosed left paren", closing.start(), "a ( is left open")
        yield Token(T.RIGHT, "}}", self.pos)
        self.close(closing)

    def token(self) -> Token:
        char = self.text[self.pos]
        if char in SIGNS:
            return self.take(SIGNS[char], self.pos + 1)
        return self.scanner(char)(char)

    def scanner(self, char: str) -> Callable[[str], Token]:
        """The method that reads a token beginning with `char`."""
        following = self.text[self.pos + 1 : self.pos + 2]
        is_digit = "0" <= char <= "9"
        choices = (
            (char in BLANKS, self.space),
            (char == ":", self.declare),
            (char in "\"`'", self.constant),
            (char == "$" or (char == "." and not "0" <= following <= "9"), self.reference),
            (char in "+-." or is_digit, self.number),
            (is_name_character(char), self.word),
        )
        return next((scanner for fits, scanner in choices if fits), self.sign)

    def sign(self, char: str) -> Token:
        if not " " < char <= "~":
            raise SyntaxProblem(f"unrecognized character in action: {char!r}", self.pos)
        return self.take(T.CHAR, self.pos + 1)

    def take(self, kind: T, end: int) -> Token:
        token = Token(kind, self.text[self.pos : end], self.pos)
        self.pos = end
        return token

    def space(self, _: str) -> Token:
        end = self.pos
        while end < len(self.text) and self.text[end] in BLANKS:
            if end > self.pos and CLOSING.match(self.text, end):
                break
            end += 1
        return self.take(T.SPACE, end)

    def declare(self, _: str) -> Token:
        if not self.text.startswith(":=", self.pos):
            raise SyntaxProblem("expected :=", self.pos, "a variable is declared with :=")
        return self.take(T.DECLARE, self.pos + 2)

    def constant(self, quote: str) -> Token:
        pattern, kind, name = {
            '"': (QUOTED, T.STRING, "quoted string"),
            "'": (CHARACTER, T.CHARCONST, "character constant"),
            "`": (RAW, T.RAWSTRING, "raw quoted string"),
        }[quote]
        found = pattern.match(self.text, self.pos)
        if not found:
            raise SyntaxProblem(f"unterminated {name}", self.pos, f"it needs a closing {quote}")
        return self.take(kind, found.end())

    def number(self, _: str) -> Token:
        found = NUMERAL.match(self.text, self.pos)
        assert found
        kind, end = T.NUMBER, found.end()
        if self.text[end : end + 1] in ("+", "-"):
            imaginary = NUMERAL.match(self.text, end)
            assert imaginary
            kind, end = T.COMPLEX, imaginary.end()
        bad = end < len(self.text) and is_name_character(self.text[end])
        if bad or (kind is T.COMPLEX and self.text[end - 1] != "i"):
            raise SyntaxProblem(f'bad number syntax: "{self.text[self.pos : end + 1]}"', self.pos)
        return self.take(kind, end)

    def word(self, _: str) -> Token:
        end = self.name_end(self.pos)
        return self.take(KEYWORDS.get(self.text[self.pos : end], T.IDENTIFIER), end)

    def reference(self, sign: str) -> Token:
        """`.`, `.name`, `$` or `$name`."""
        end = self.name_end(self.pos + 1)
        if sign == "$":
            return self.take(T.VARIABLE, end)
        return self.take(T.DOT if end == self.pos + 1 else T.FIELD, end)

    def name_end(self, end: int) -> int:
        """Check the end of a name at `end`: only some characters may follow it."""
        while end < len(self.text) and is_name_character(self.text[end]):
            end += 1
        follower = self.text[end : end + 1]
        if follower and follower not in BLANKS + ".,|:)(" and not self.text.startswith("}}", end):
            hint = 'a name with a dash is read with `index`: {{ index .Values "my-name" }}'
            raise SyntaxProblem(
                f"bad character {follower!r} after a name", end, hint if follower == "-" else ""
            )
        return end
