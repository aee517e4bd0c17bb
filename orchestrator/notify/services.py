"""Delivers messages by apprise: mail, chat, or a program that takes JSON.

The URLs of services have secrets in them: they are never printed, logged, or written anywhere.
"""

from __future__ import annotations

import logging
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.display.printable import visible
from tasks.errors import BadInput, why_unreadable

_CALLS = re.compile(r"(?<=<)(?=[@!#])|(?<=@)(?=everyone\b|here\b|channel\b|all\b|room\b)")


def send(url: str, title: str, body: str) -> bool:
    """Send to one URL; False if that fails. What is too long for the service is sent in parts,
    unless the URL says otherwise. What apprise logs may have the URL in it."""
    import apprise

    logging.getLogger("apprise").disabled = True
    service = apprise.Apprise()
    try:
        if not service.add(url):
            return False
        for one in service:
            if "overflow=" not in url:
                one.overflow_mode = apprise.OverflowMode.SPLIT
        return bool(service.notify(title=title, body=body, body_format=apprise.NotifyFormat.TEXT))
    except Exception:  # of one of a hundred services: telling must fail nothing else
        return False


def urls_of(urls: Sequence[str], file: Path | None) -> tuple[str, ...]:
    """`urls`, and those in the lines of `file`; `BadInput` if it cannot be read."""
    if not file:
        return tuple(urls)
    try:
        lines = file.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = why_unreadable(error)
        raise BadInput(
            f"cannot read notify_file {file}: {why}", "a line has one URL of apprise"
        ) from error
    found = [line.strip() for line in lines]
    return (*urls, *(line for line in found if line and not line.startswith("#")))


def secret_urls_of(file: Path) -> tuple[str, ...]:
    """The URLs in `file`, each once; `BadInput` if others than its owner and group may read it."""
    found = tuple(dict.fromkeys(urls_of((), file)))
    if file.stat().st_mode & stat.S_IRWXO:
        hint = f"it has secrets in it: chmod 640 {file}, or 600"
        raise BadInput(f"notify_file {file} can be read by everybody", hint)
    return found


def named(number: int, url: str) -> str:
    """How a URL is called where people see it."""
    return f"notify[{number}] ({visible(urlsplit(url).scheme)})"


def harmless(text: str) -> str:
    """One line of text from elsewhere, such as a log, with escapes for what shows nothing, and so
    that it calls nobody in a chat: `@everyone`, `<!here>` and the like get a blank."""
    return _CALLS.sub(" ", visible(text))
