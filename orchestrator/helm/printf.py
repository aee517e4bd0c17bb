"""Go's fmt.Sprintf: flags, width, precision, indexed arguments, and its error texts."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.helm.limits import Budget
from orchestrator.helm.printing import PLAIN, Flags, format_value
from orchestrator.helm.values import basic_kind, type_of

LARGEST = 1_000_000  # width, precision or number of an argument
FLAG_NAMES = {"#": "sharp", "0": "zero", "+": "plus", "-": "minus", " ": "space"}


def sprintf(budget: Budget, layout: str, values: tuple[object, ...]) -> str:
    return Formatter(budget, layout, values).text()


class Formatter:
    def __init__(self, budget: Budget, layout: str, values: tuple[object, ...]) -> None:
        self.budget = budget
        self.layout = layout
        self.values = values
        self.pos = 0
        self.next_value = 0
        self.reordered = False
        self.good_number = True
        self.after_number = False

    def text(self) -> str:
        pieces: list[str] = []
        while (percent := self.layout.find("%", self.pos)) >= 0:
            pieces.append(self.layout[self.pos : percent])
            self.pos = percent + 1
            piece = self.verb()
            self.budget.reserve(len(piece))
            pieces.append(piece)
        pieces.append(self.layout[self.pos :])
        return "".join(pieces) + self.extra()

    def extra(self) -> str:
        """The error text for values that no verb used."""
        if self.reordered or self.next_value >= len(self.values):
            return ""
        shown = (
            "<nil>" if value is None else f"{type_of(value)}={format_value(value, 'v', PLAIN)}"
            for value in self.values[self.next_value :]
        )
        return f"%!(EXTRA {', '.join(shown)})"

    def char(self) -> str:
        return self.layout[self.pos : self.pos + 1]

    def verb(self) -> str:
        """The output of one verb, with its flags, width and precision."""
        self.good_number = True
        flags = self.flags()
        self.number()
        flags, before = self.width(flags)
        flags, wrong = self.precision(flags)
        if not self.after_number:
            self.number()
        verb = self.char()
        if not verb:
            return before + wrong + "%!(NOVERB)"
        self.pos += 1
        return before + wrong + self.value(verb, flags)

    def value(self, verb: str, flags: Flags) -> str:
        if verb == "%":
            return "%"
        if not self.good_number:
            return f"%!{verb}(BADINDEX)"
        if self.next_value >= len(self.values):
            return f"%!{verb}(MISSING)"
        value = self.values[self.next_value]
        self.next_value += 1
        count = self.budget.measure(value)
        self.budget.reserve(count * max(flags.width or 1, flags.precision or 1))
        if verb in "vw":
            flags = replace(flags, go_syntax=flags.sharp, sharp=False, names=flags.plus, plus=False)
        return format_value(value, verb, flags)

    def flags(self) -> Flags:
        found = PLAIN
        while (char := self.char()) in FLAG_NAMES:
            found = replace(found, **{FLAG_NAMES[char]: True})
            self.pos += 1
        return found

    def number(self) -> None:
        """`[3]`: the number of the next value, counted from 1."""
        self.after_number = False
        if self.char() != "[":
            return
        self.reordered = True
        end = self.layout.find("]", self.pos)
        digits = self.layout[self.pos + 1 : end] if end > 0 else ""
        self.pos = end + 1 if end > 0 else self.pos + 1
        if digits.isascii() and digits.isdigit() and len(digits) <= 7:
            self.after_number = True
            wanted = int(digits) - 1
            if 0 <= wanted < len(self.values):
                self.next_value = wanted
                return
        self.good_number = False

    def width(self, flags: Flags) -> tuple[Flags, str]:
        if self.char() == "*":
            self.pos += 1
            self.after_number = False
            width = self.taken()
            if width is None:
                return flags, "%!(BADWIDTH)"
            if width < 0:
                return replace(flags, width=-width, minus=True, zero=False), ""
            return replace(flags, width=width), ""
        width = self.digits()
        if width is not None and self.after_number:
            self.good_number = False
        return replace(flags, width=width), ""

    def precision(self, flags: Flags) -> tuple[Flags, str]:
        if self.char() != "." or self.pos + 1 >= len(self.layout):
            return flags, ""
        self.pos += 1
        if self.after_number:
            self.good_number = False
        self.number()
        if self.char() == "*":
            self.pos += 1
            self.after_number = False
            precision = self.taken()
            if precision is None or precision < 0:
                return flags, "%!(BADPREC)"
            return replace(flags, precision=precision), ""
        return replace(flags, precision=self.digits() or 0), ""

    def taken(self) -> int | None:
        """A value used as width or precision, if it is an integer in range."""
        if self.next_value >= len(self.values):
            return None
        value = self.values[self.next_value]
        self.next_value += 1
        if not isinstance(value, int) or basic_kind(value) not in ("int", "uint"):
            return None
        return int(value) if abs(value) <= LARGEST else None

    def digits(self) -> int | None:
        start = self.pos
        while "0" <= self.char() <= "9":
            self.pos += 1
        if start == self.pos:
            return None
        number = int(self.layout[start : self.pos][:9])
        if number > LARGEST * 10 or (number > LARGEST and self.pos - start > 7):
            self.pos = len(self.layout)
            return None
        return number
