"""The policy of a gate, as it was read from its gate file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from orchestrator.formats.gatefile import Checks, Gatefile, load_gate
from orchestrator.formats.reader import Seconds
from orchestrator.notify.services import urls_of
from tasks.model import encode
from tasks.trust.statements import Digested


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The rules, the name of their file, and the URLs that are told of holds."""

    rules: Gatefile = field(default_factory=Gatefile)
    name: str = "gate.yaml"
    urls: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        """The digest of what is checked, whoever is told of it."""
        rules = replace(self.rules, notify=(), notify_file="", hold_reminder=Seconds(0))
        return hashlib.sha256(encode(rules)).hexdigest()

    @property
    def digested(self) -> Digested:
        return Digested(name=self.name, digest={"sha256": self.sha256})

    @property
    def checks(self) -> tuple[str, ...]:
        return tuple(item.name for item in fields(Checks))


def load_policy(file: Path) -> Policy:
    """The policy in the gate file; `BadInput` with all that is wrong in it."""
    rules = load_gate(file).value
    told = file.absolute().parent / rules.notify_file if rules.notify_file else None
    return Policy(rules=rules, name=file.name, urls=urls_of(rules.notify, told))
