"""The templates of the site, and how values are shown in them.

Names, reasons and logs come from builds, which are hostile: the templates escape all they are
given, names go through `shown`, and the pages' Content-Security-Policy lets nothing run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment, pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from orchestrator.display.html import environment_of, shown, style_sheet
from orchestrator.display.terminal import duration, size
from orchestrator.display.times import moment
from orchestrator.report.model import Freshness, Mark, cause_page, page_name, possible_size
from tasks import __version__
from tasks.model import short_id

TEMPLATES = Path(__file__).parent / "templates"

SYMBOLS: dict[str, str] = {
    Freshness.FRESH: "●",
    Freshness.DUE: "◐",
    Freshness.STALE: "▲",
    Freshness.NEVER: "○",
    Freshness.UNBOUND: "◇",
    Mark.SUCCEEDED: "✓",
    Mark.RUNNING: "▶",
    Mark.WAITING: "…",
    Mark.FAILED: "✗",
    Mark.CANCELLED: "⊘",
    Mark.HELD: "■",
    Mark.NONE: "·",
}
"""So that no colour is needed to tell them apart."""


def render(template: str, **values: Any) -> str:
    """The page; `root` is the way to the folder of the site, such as `../`."""
    return environment().get_template(template).render(values)


def style() -> str:
    return style_sheet() + (TEMPLATES / "report.css").read_text()


@cache
def look() -> str:
    """A digest of all that pages have in common."""
    files = sorted(TEMPLATES.iterdir())
    texts = [__version__, style_sheet(), *(file.read_text() for file in files)]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


@cache
def environment() -> Environment:
    filters: dict[str, Callable[..., Any]] = {
        "size": lambda size_bytes: size(possible_size(size_bytes)),
        "duration": lambda seconds: duration(seconds) if seconds else "–",
        "moment": _moment,
        "iso": iso,
        "days": days,
        "short": short_id,
        "page": page_name,
        "cause_page": cause_page,
        "css": lambda word: str(word).replace(" ", "-"),
        "build": _build,
        "outside": _outside,
    }
    made = environment_of(TEMPLATES, filters)
    made.globals["symbols"] = SYMBOLS
    return made


def iso(seconds: float) -> str:
    """`2026-11-26T21:30:00Z`, as in feeds; of impossible times the first one."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return "1970-01-01T00:00:00Z"


def days(seconds: float) -> str:
    """`7 days`, `36 hours`: how a contract is said."""
    amount, unit = (seconds / 86400, "day") if seconds >= 2 * 86400 else (seconds / 3600, "hour")
    return f"{amount:.4g} {unit}{'s' * (amount != 1)}"


def _moment(seconds: float, *, only_day: bool = False) -> Markup:
    if not seconds:
        return Markup("–")
    text = iso(seconds)[:10] if only_day else moment(seconds)
    return Markup('<time datetime="{}">{}</time>').format(iso(seconds), text)


@pass_context
def _build(context: Context, build: str) -> Markup:
    """A link to the page of a build, or only its name where there is none."""
    name = Markup("<code>{}</code>").format(shown(short_id(build)))
    if build not in context["builds"]:
        return name
    return Markup('<a href="{}build/{}.html">{}</a>').format(
        context["root"], page_name(build), name
    )


def _outside(url: str) -> Markup:
    """A link to another site, which learns nothing of this one; text if it is no web address."""
    if urlsplit(url).scheme not in ("http", "https"):
        return Markup.escape(shown(url))
    return Markup('<a href="{}" rel="noopener noreferrer">{}</a>').format(url, shown(url))
