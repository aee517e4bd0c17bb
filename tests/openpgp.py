"""OpenPGP keys for tests, in gpg homes of their own with agents of their own."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

NAME = "stages@example.org"


@dataclass(frozen=True)
class Home:
    """A home folder of gpg. Its path is short, as the agent's socket in it needs."""

    folder: Path

    def gpg(self, *arguments: str, **options: object) -> subprocess.CompletedProcess[bytes]:
        argv = ["gpg", "--homedir", str(self.folder), "--batch", "--no-tty", *arguments]
        return subprocess.run(argv, capture_output=True, check=True, **options)  # type: ignore[call-overload,no-any-return]

    def new_key(
        self, name: str = NAME, expires: str = "never", passphrase: str = "", now: str = ""
    ) -> str:
        """Make a key for signing only; returns its fingerprint."""
        how = ["--pinentry-mode", "loopback", "--passphrase", passphrase]
        then = ["--faked-system-time", now] if now else []
        self.gpg(*then, *how, "--quick-generate-key", name, "ed25519", "sign", expires)
        listing = self.gpg("--list-keys", "--with-colons", name).stdout.decode()
        return next(line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr"))

    def public(self, *, armored: bool = True) -> bytes:
        return self.gpg(*(["--armor"] if armored else []), "--export").stdout


@contextmanager
def home() -> Iterator[Home]:
    folder = Path(tempfile.mkdtemp(prefix="gpg-", dir="/tmp"))
    try:
        yield Home(folder)
    finally:
        end = ["gpgconf", "--homedir", str(folder), "--kill", "all"]
        subprocess.run(end, capture_output=True, check=False)
        shutil.rmtree(folder, ignore_errors=True)
