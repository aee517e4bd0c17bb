"""Releases with a gate, and small stages that pass it or do not."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import zstandard
from cryptography.hazmat.primitives import serialization

from orchestrator.formats.releasefile import load_release
from orchestrator.gate.findings import Finding
from orchestrator.gate.holds import Hold
from orchestrator.gate.waivers import Waiver, add_waiver, waivers_file
from orchestrator.release.facts import Facts
from orchestrator.release.gate_setup import gate_of
from orchestrator.release.gating import Gate
from orchestrator.release.publication import Outcome
from orchestrator.release.publisher import Publisher
from tasks.reporting import Silent
from tasks.settings import Settings
from tests.farm import entry
from tests.releases import Shop
from tests.trusted import key

RELEASE = """
name: nightly
stages: [{variant: $flavour}]
targets: [{to: mirror}]
gate: gate.yaml
key: release.key
"""
POLICY = """
checks: {tarball_size: pass, tree_size: pass, folder_size: pass}
"""
BASE: dict[str, tuple[int, bytes]] = {
    "etc/passwd": (0o644, b"root:x:0:0:root:/root:/bin/sh\n"),
    "etc/group": (0o644, b"root:x:0:\n"),
    "usr/bin/tool": (0o755, b"a tool\n"),
}


def stage(**changes: int) -> bytes:
    """A small stage as a tarball; `changes` are files of /usr/bin with their modes."""
    more = {f"usr/bin/{name}": (mode, b"a tool\n") for name, mode in changes.items()}
    return tarball({**BASE, **more})


def tarball(files: Mapping[str, tuple[int, bytes]]) -> bytes:
    """Files with their modes and contents as a `.tar.zst`."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, (mode, content) in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.mode, member.size, member.mtime = mode, len(content), 1_700_000_000
            tar.addfile(member, io.BytesIO(content))
    return zstandard.compress(made.getvalue())


def write_key(file: Path, name: str) -> None:
    """Write the private key of that name, as `stagefarm keys new` does."""
    pem = key(name).secret.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    file.touch(0o600)
    file.write_bytes(pem)


@dataclass
class GatedShop(Shop):
    """A shop whose release has a gate. `anna` may accept findings, `bert` may not."""

    policy: str = POLICY
    told: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.folder / "gate.yaml").write_text(self.policy)
        self.file.write_text(RELEASE)
        write_key(self.folder / "release.key", "release")
        may = {"outer_hooks": True, "host_privileges": True}
        trusted = (
            entry("submitter", "anna", key("anna").public, accept_findings=True, **may),
            entry("submitter", "bert", key("bert").public, **may),
            entry("host", "one", key("one").public),
        )
        (self.folder / "trust.toml").write_text("".join(trusted))

    @property
    def file(self) -> Path:
        return self.folder / "release.yaml"

    @property
    def settings(self) -> Settings:
        return Settings(
            state_dir=str(self.folder / "state"),
            store_url=self.store.as_uri(),
            trust_file=str(self.folder / "trust.toml"),
        )

    @property
    def gate(self) -> Gate:
        facts = Facts(self.folder / "facts")
        document = load_release(self.file)
        gate = gate_of(document, key("release"), self.settings, facts, Silent(), self.said.append)
        assert gate
        return gate

    def publisher(self, **changes: Any) -> Publisher:
        return super().publisher(**{"gate": self.gate, **changes})

    def publish(self, *builds: str, **changes: Any) -> Outcome:
        outcome = super().publish(*builds, **changes)
        self.told += self.gate.tell(self.now)
        return outcome

    def night(self, build: str, content: bytes, **more: Any) -> Outcome:
        """Build a stage, and publish it as its release wants."""
        self.put(build, content=content, **more)
        return self.publish(build)

    def sha256(self, build: str) -> str:
        (tarball,) = self.store.glob(f"*/{build}/**/*.tar.zst")
        return hashlib.sha256(tarball.read_bytes()).hexdigest()

    @property
    def held(self) -> tuple[Hold, ...]:
        return self.gate.holds.current

    def accept(self, finding: Finding, by: str = "anna", **changes: Any) -> None:
        values: dict[str, Any] = {
            "release": "nightly", "channel": "stable", "check": finding.check,
            "path": finding.path, "before": finding.before, "after": finding.after,
            "until": self.today, "because": "it is wanted", "by": by, "at": self.now,
        }  # fmt: skip
        add_waiver(waivers_file(self.file), Waiver(**{**values, **changes}), key(by))

    @property
    def today(self) -> date:
        return datetime.fromtimestamp(self.now, UTC).date()
