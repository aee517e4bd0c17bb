"""Tells people of holds, by apprise: mail, chat, or a program that takes JSON.

The URLs have secrets in them: they are never printed, and notes on the disk have their digests.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.display.printable import plain
from orchestrator.display.terminal import duration
from orchestrator.gate.findings import Finding
from orchestrator.gate.holds import About, Message
from tasks.errors import BadInput
from tasks.model import short_id

FINDINGS_SHOWN = 10
MARK_CHARS = 16


@dataclass(frozen=True, slots=True)
class Notifier:
    """Sends messages of the release called `release` to `urls`; `file` is its release file. A URL
    that fails is not tried again by this process."""

    release: str
    file: Path
    urls: Sequence[str] = ()
    down: set[str] = field(default_factory=set)

    def send(self, message: Message, now: float) -> tuple[Message | None, str]:
        """Send to all who do not have it yet; returns what is left to send, and why."""
        done = set(message.sent)
        failed = []
        for number, url in enumerate(self.urls):
            if _mark(url) in done:
                continue
            if url not in self.down and _notify(
                url, self._title(message), self._body(message, now)
            ):
                done.add(_mark(url))
            else:
                self.down.add(url)
                failed.append(_named(number, url))
        if not failed:
            return None, ""
        why = f"nobody could be told by {', '.join(failed)}: it is tried again by the next publish"
        return replace(message, sent=tuple(sorted(done))), why

    def _title(self, message: Message) -> str:
        stage = plain(str(message.hold.stage))
        said = {
            About.BEGUN: f"the gate holds {stage}",
            About.REMINDER: f"the gate still holds {stage}",
            About.ENDED: f"the gate does not hold {stage} any more",
        }
        return f"{self.release}: {said[message.about]}"

    def _body(self, message: Message, now: float) -> str:
        hold = message.hold
        build = short_id(hold.build)
        if message.about is About.ENDED:
            return plain(f"{build} was held for {duration(now - hold.since)}; {message.how}.")
        lines = [f"{build} is not published, for {duration(now - hold.since)} now."]
        lines += _lines(hold.holding)
        lines += ["", f"stagefarm gate show {self.file} {build}"]
        return plain("\n".join(lines))


def urls_of(urls: Sequence[str], file: Path | None) -> tuple[str, ...]:
    """`urls`, and those in the lines of `file`; `BadInput` if it cannot be read."""
    if not file:
        return tuple(urls)
    try:
        lines = file.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise BadInput(
            f"cannot read notify_file {file}: {why}", "a line has one URL of apprise"
        ) from error
    found = [line.strip() for line in lines]
    return (*urls, *(line for line in found if line and not line.startswith("#")))


def _lines(findings: Sequence[Finding]) -> Iterator[str]:
    for finding in findings[:FINDINGS_SHOWN]:
        yield f"{finding.digest[:12]} {finding.check} {finding.path}: {finding.message}"
    if (more := len(findings) - FINDINGS_SHOWN) > 0:
        yield f"and {more} more"


def _notify(url: str, title: str, body: str) -> bool:
    """Send to one URL; False if that fails. What apprise logs may have the URL in it."""
    import apprise

    logging.getLogger("apprise").disabled = True
    service = apprise.Apprise()
    try:
        return bool(service.add(url)) and bool(service.notify(title=title, body=body))
    except Exception:  # of one of a hundred services: telling must never fail a publication
        return False


def _mark(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:MARK_CHARS]


def _named(number: int, url: str) -> str:
    return f"notify[{number}] ({urlsplit(url).scheme})"
