"""What web pages have in common: how names from elsewhere are shown, and the style sheet."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from orchestrator.display.printable import escaped, visible

TEMPLATES = Path(__file__).parent / "templates"

NAME_MAX = 200
"""Most characters of one name; the middle of longer ones is left out."""


def shown(text: str, limit: int = NAME_MAX) -> Markup:
    """`text` for a page: on one line, not too long, with visible escapes."""
    if len(text) > limit:
        text = f"{text[: limit // 2]}…{text[-limit // 2 :]}"
    if text.isprintable():
        return Markup.escape(text)
    parts = []
    for is_plain, run in groupby(text, str.isprintable):
        if is_plain:
            parts.append(Markup.escape("".join(run)))
        else:
            parts.append(
                Markup('<span class="escape">{}</span>').format("".join(map(escaped, run)))
            )
    return Markup().join(parts)


def environment_of(templates: Path, filters: Mapping[str, Callable[..., Any]]) -> Environment:
    """An environment that escapes all that templates are given; what is missing is an error."""
    made = Environment(
        loader=FileSystemLoader(templates),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"shown": shown, "visible": visible, **filters}
    return made


def style_sheet() -> str:
    return (TEMPLATES / "page.css").read_text()


def digest_of(style: str) -> str:
    """The digest of the style sheet by which the policy of a page allows it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
