"""Sprig's functions that change the case of letters or the way words are joined."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from enum import Enum

from orchestrator.helm.functions import unicode
from orchestrator.helm.signature import Function


def upper(text: str) -> str:
    return unicode.upper(text)


def lower(text: str) -> str:
    return unicode.lower(text)


def is_separator(char: str) -> bool:
    """Whether a character ends a word for `title`: ASCII punctuation, and any white space."""
    if char.isascii():
        return not (char.isalnum() or char == "_")
    return not (char.isalpha() or char.isdecimal()) and unicode.is_space(char)


def title(text: str) -> str:
    before = " "
    changed: list[str] = []
    for char in text:
        changed.append(unicode.to_title(char) if is_separator(before) else char)
        before = char
    return "".join(changed)


def untitle(text: str) -> str:
    gap = True
    changed: list[str] = []
    for char in text:
        changed.append(unicode.to_lower(char) if gap else char)
        gap = unicode.is_space(char)
    return "".join(changed)


def swapcase(text: str) -> str:
    """Change a lower-case letter that begins a word to title case."""
    gap = True
    changed: list[str] = []
    for char in text:
        if unicode.is_upper(char) or unicode.is_title(char):
            changed.append(unicode.to_lower(char))
            gap = False
        elif unicode.is_lower(char):
            changed.append(unicode.to_title(char) if gap else unicode.to_upper(char))
            gap = False
        else:
            changed.append(char)
            gap = unicode.is_space(char)
    return "".join(changed)


def is_connector(char: str) -> bool:
    return char in "-_" or unicode.is_space(char)


def camelcase(text: str) -> str:
    """`some_words` to `SomeWords`. Connectors at the beginning stay, of others one is removed."""
    body = text
    while body and is_connector(body[0]):
        body = body[1:]
    head = text[: len(text) - len(body)]
    if not body:
        return head + head[-1:]
    if len(body) == 1:
        return head + unicode.to_upper(body)
    return head + pascal(body)


def pascal(body: str) -> str:
    changed: list[str] = []
    was_upper = unicode.is_upper(body[0])
    char = unicode.to_upper(body[0])
    for following in body[1:]:
        before, char = char, following
        if is_connector(char) and is_connector(before):
            changed.append(before)
            continue
        if is_connector(before):
            was_upper = unicode.is_upper(char)
            char = unicode.to_upper(char)
            continue
        if was_upper:
            if unicode.is_upper(char):
                char = unicode.to_lower(char)
            else:
                was_upper = False
        changed.append(before)
    return "".join((*changed, char))


class Word(Enum):
    END = 0
    NUMBER = 1
    UPPER = 2
    LETTERS = 3
    CONNECTOR = 4
    PUNCTUATION = 5
    OTHER = 6


JOINTS = (Word.CONNECTOR, Word.PUNCTUATION)
TAIL = (Word.LETTERS, Word.NUMBER)


def is_punctuation(char: str) -> bool:
    return unicodedata.category(char)[0] == "P"


def is_number(char: str) -> bool:
    return unicodedata.category(char)[0] == "N"


def is_letter(char: str) -> bool:
    """A letter, except in the scripts without case whose characters Go's xstrings separates."""
    if not char.isalpha():
        return False
    return not any(low <= char <= high for low, high in CASELESS)


CASELESS = (("\u3400", "\u4d85"), ("\u4e00", "\u9fcc"), ("\U00020000", "\U0002b81d"))


def run_of(text: str, start: int, fits: Callable[[str], bool]) -> int:
    end = start
    while end < len(text) and fits(text[end]):
        end += 1
    return end


def next_word(text: str) -> tuple[Word, str, str]:
    """The first word of `text`, by the kind of its characters, and the rest."""
    if not text:
        return Word.END, "", ""
    kind, end = first_word(text)
    return kind, text[:end], text[end:]


def first_word(text: str) -> tuple[Word, int]:
    first = text[0]
    if is_connector(first):
        return Word.CONNECTOR, run_of(text, 1, is_connector)
    if is_punctuation(first):
        return Word.PUNCTUATION, run_of(text, 1, is_punctuation)
    if unicode.is_upper(first):
        return Word.UPPER, upper_word(text)
    if is_letter(first):
        return Word.LETTERS, run_of(text, 1, is_small)
    if is_number(first):
        return Word.NUMBER, run_of(text, 1, is_number)
    return Word.OTHER, run_of(text, 1, is_other)


def is_small(char: str) -> bool:
    return is_letter(char) and not unicode.is_upper(char)


def is_other(char: str) -> bool:
    return not (is_connector(char) or is_letter(char) or is_number(char) or is_punctuation(char))


def upper_word(text: str) -> int:
    """`HTTPStatus` begins with the word `HTTP`, `Status` is one word."""
    if len(text) > 1 and unicode.is_upper(text[1]):
        end = run_of(text, 2, unicode.is_upper)
        return end - 1 if end < len(text) and is_letter(text[end]) else end
    return run_of(text, 1, is_small)


def small(word: str) -> str:
    return "".join(unicode.to_lower(char) if unicode.is_upper(char) else char for char in word)


class Separator:
    """Writes words in lower case, joined by a connector, like xstrings for Sprig."""

    def __init__(self, text: str, connector: str) -> None:
        self.connector = connector
        self.written: list[str] = []
        self.rest = text
        self.kind, self.word = Word.END, ""
        self.advance()

    def advance(self) -> None:
        self.kind, self.word, self.rest = next_word(self.rest)

    def is_at(self, kind: Word) -> bool:
        return self.kind is kind

    def put(self, kind: Word, word: str) -> None:
        if kind is Word.CONNECTOR:
            self.written.append(self.connector * len(word))
        else:
            self.written.append(small(word) if kind is Word.UPPER else word)

    def connect(self) -> None:
        """A connector, unless the next word has one or ends the text."""
        if self.kind not in JOINTS and self.kind is not Word.END:
            self.written.append(self.connector)

    def tail(self) -> None:
        """Letters and numbers that belong to the number before them."""
        while self.kind in TAIL:
            self.put(self.kind, self.word)
            self.advance()
        self.connect()

    def text(self) -> str:
        while self.rest:
            before, word = self.kind, self.word
            if before is not Word.CONNECTOR:
                self.put(before, word)
            self.advance()
            if before is Word.NUMBER:
                self.tail()
            elif before is Word.CONNECTOR:
                self.put(before, word)
            elif before is not Word.PUNCTUATION:
                self.after_letters()
        self.put(self.kind, self.word)
        return "".join(self.written)

    def after_letters(self) -> None:
        """A number belongs to the letters before it, unless lower-case letters follow: then it
        begins a word with them."""
        if self.kind is not Word.NUMBER:
            self.connect()
        elif self.rest:
            number = self.word
            self.advance()
            if self.is_at(Word.LETTERS):
                self.written.append(self.connector)
                self.put(Word.NUMBER, number)
                self.tail()
            else:
                self.put(Word.NUMBER, number)
                self.connect()


def separated(text: str, connector: str) -> str:
    return Separator(text, connector).text()


def snakecase(text: str) -> str:
    return separated(text, "_")


def kebabcase(text: str) -> str:
    return separated(text, "-")


FUNCTIONS: Mapping[str, Function] = {
    "camelcase": camelcase,
    "kebabcase": kebabcase,
    "lower": lower,
    "snakecase": snakecase,
    "swapcase": swapcase,
    "title": title,
    "untitle": untitle,
    "upper": upper,
}
