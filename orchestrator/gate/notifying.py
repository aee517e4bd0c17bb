"""Tells people of holds, by `orchestrator.notify.services`.

The URLs have secrets in them: notes on the disk have their digests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestrator.display.printable import plain
from orchestrator.display.terminal import duration
from orchestrator.gate.findings import Finding
from orchestrator.gate.holds import About, Message
from orchestrator.notify.services import named, send
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
            if url not in self.down and send(url, self._title(message), self._body(message, now)):
                done.add(_mark(url))
            else:
                self.down.add(url)
                failed.append(named(number, url))
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


def _lines(findings: Sequence[Finding]) -> Iterator[str]:
    for finding in findings[:FINDINGS_SHOWN]:
        yield f"{finding.digest[:12]} {finding.check} {finding.path}: {finding.message}"
    if (more := len(findings) - FINDINGS_SHOWN) > 0:
        yield f"and {more} more"


def _mark(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:MARK_CHARS]
