"""Makes text of hooks, seeds and specfiles safe for a terminal.

Colours may be kept. Every other control sequence is removed: those that move the cursor, clear or
reset the screen, change its title, its character set or the clipboard, or query the terminal. See
ECMA-48 for the forms of escape sequences.
"""

from __future__ import annotations

import re

RESET = "\x1b[0m"

_ACTS = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # control sequences, colours among them
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?"  # strings for the terminal: titles, clipboard
    r"|\x1b[ -/]*[0-~]?"  # other escapes
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f]"  # control characters but tab and newline
)
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")


def plain(text: str) -> str:
    """`text` without control sequences."""
    return _ACTS.sub("", text)


def coloured(text: str) -> str:
    """`text` with no control sequences but colours, which are reset at its end."""
    kept = _ACTS.sub(lambda found: found[0] if _COLOUR.fullmatch(found[0]) else "", text)
    return kept + RESET if "\x1b" in kept else kept


def visible(text: str) -> str:
    """`text` on one line, with an escape such as `\\x1b` for each character that shows nothing or
    changes how others are shown: controls, line breaks, marks of direction, and bytes that are no
    text (which are as `os.fsdecode` gives them)."""
    return text if text.isprintable() else "".join(map(escaped, text))


def escaped(sign: str) -> str:
    if sign.isprintable():
        return sign
    return f"\\x{ord(sign) - 0xDC00:02x}" if "\udc80" <= sign <= "\udcff" else repr(sign)[1:-1]
