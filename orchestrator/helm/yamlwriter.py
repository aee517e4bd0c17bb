"""Texts in the styles of YAML, written like libyaml's emitter."""

from __future__ import annotations

import re
from dataclasses import dataclass

WIDTH = 80
BREAKS = "\n\r\x85\u2028\u2029"
BLANKS = " \t" + BREAKS
BOM = "\ufeff"
ESCAPES = {
    "\0": "0",
    "\a": "a",
    "\b": "b",
    "\t": "t",
    "\n": "n",
    "\v": "v",
    "\f": "f",
    "\r": "r",
    "\x1b": "e",
    '"': '"',
    "\\": "\\",
    "\x85": "N",
    "\u2028": "L",
    "\u2029": "P",
    "\ufeff": "uFEFF",
}
INDICATORS = re.compile(rf"[#,\[\]{{}}&*!|>'\"%@`]|[?:-](?:[{BLANKS}]|$)|---|\.\.\.")
INNER_INDICATORS = re.compile(rf":(?:[{BLANKS}]|$)|(?<=[{BLANKS}])#")


class Look:
    """The styles that the characters of a text allow: libyaml's analyze_scalar."""

    def __init__(self, text: str, *, is_v3: bool) -> None:
        special = any(not is_printable(char, is_v3=is_v3) for char in text)
        tabbed = is_v3 and "\t" in text
        break_space = re.search(f"[{BREAKS}] ", text)
        space_break = re.search(f" [{BREAKS}]", text)
        outer = any(char in " " + BREAKS for char in text[:1] + text[-1:])
        broken = any(char in BREAKS for char in text)
        indicators = INDICATORS.match(text) or INNER_INDICATORS.search(text, 1)
        self.single_allowed = not (break_space or space_break or special or tabbed)
        self.block_allowed = bool(text) and not (text[-1:] == " " or space_break or special)
        self.plain_allowed = self.single_allowed and not (outer or broken or indicators)


def is_printable(char: str, *, is_v3: bool) -> bool:
    """Printable for libyaml: neither tabs nor characters beyond the basic plane."""
    if char == "\t":
        return is_v3
    return (
        char == "\n"
        or " " <= char <= "~"
        or "\xa0" <= char < "\ud800"
        or "\ue000" <= char < "\ufffe"
    ) and char != "\ufeff"


@dataclass(slots=True)
class Writer:
    """Writes one text from `column` on; it is folded at `width` into new lines, indented by
    `indent`."""

    indent: int
    column: int
    width: float

    def fold(self) -> str:
        self.column = self.indent
        return "\n" + " " * self.indent

    def put(self, text: str) -> str:
        self.column += len(text)
        return text

    def plain(self, text: str) -> str:
        pieces: list[str] = []
        spaced = False
        for index, char in enumerate(text):
            is_space = char == " "
            if is_space and not spaced and self.column > self.width and text[index + 1] != " ":
                pieces.append(self.fold())
            else:
                pieces.append(self.put(char))
            spaced = is_space
        return "".join(pieces)

    def single_quoted(self, text: str) -> str:
        pieces = [self.put("'")]
        before = ""
        for index, char in enumerate(text):
            if (
                char == " "
                and before != " "
                and self.may_fold(index, text)
                and text[index + 1] != " "
            ):
                pieces.append(self.fold())
            elif char in BREAKS:
                pieces.append(char)
                self.column = 0
            else:
                pad = " " * self.indent if before and before in BREAKS else ""
                pieces.append(self.put(pad + ("''" if char == "'" else char)))
            before = char
        return "".join((*pieces, "'"))

    def may_fold(self, index: int, text: str) -> bool:
        return self.column > self.width and 0 < index < len(text) - 1

    def double_quoted(self, text: str) -> str:
        pieces = [self.put('"')]
        if text.startswith(BOM):  # libyaml looks for it at the wrong position, and escapes all
            return "".join((*pieces, *map(code_of, text), '"'))
        spaced = False
        for index, char in enumerate(text):
            if char == " " and not spaced and self.may_fold(index, text):
                pieces.append(self.fold())
                if text[index + 1] == " ":
                    pieces.append(self.put("\\"))
            else:
                pieces.append(self.put(escaped(char)))
            spaced = char == " "
        return "".join((*pieces, '"'))

    def literal(self, text: str, step: int) -> str:
        """`|`: the lines unchanged, without the last line break."""
        hint = str(step) if text[0] == " " or text[0] in BREAKS else ""
        if text[-1] not in BREAKS:
            hint += "-"
        elif len(text) == 1 or text[-2] in BREAKS:
            hint += "+"
        lines = re.findall(f"[^{BREAKS}]*[{BREAKS}]|[^{BREAKS}]+$", text)
        pad = " " * self.indent
        body = "".join(line if line[0] in BREAKS else pad + line for line in lines)
        return f"|{hint}\n{body}".removesuffix("\n")


def escaped(char: str) -> str:
    if char in ESCAPES:
        return "\\" + ESCAPES[char]
    return char if is_printable(char, is_v3=False) else code_of(char)


def code_of(char: str) -> str:
    if char in ESCAPES:
        return "\\" + ESCAPES[char]
    code = ord(char)
    if code <= 0xFF:
        return f"\\x{code:02X}"
    return f"\\u{code:04X}" if code <= 0xFFFF else f"\\U{code:08X}"
