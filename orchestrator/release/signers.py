"""Signs with the release's keys, on the publisher's machine: OpenPGP, minisign, Ed25519.

OpenPGP goes through `gpg`, so that keys are used as people have them: in the agent, as subkeys, on
a hardware token. Passphrases are the agent's business. minisign signs in this process, so that a
large file can be signed while it is read; Ed25519 is the raw signature by one of our own keys, for
small files (`openssl pkeyutl -verify -rawin`).
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from orchestrator.release.facts import Fact, Facts
from tasks.archive.decompress import Read, pieces_of
from tasks.errors import BadInput, HostUnfit
from tasks.host.pipes import drained, feeding, killed_on_error
from tasks.host.process import piped, standard_environment
from tasks.trust.keys import PrivateKey

if TYPE_CHECKING:
    from minisign import SecretKey

ARMORED, MINISIG, RAW = ".asc", ".minisig", ".ed25519"

AGENT_VARIABLES = (
    *("GNUPGHOME", "GPG_TTY", "DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "XDG_RUNTIME_DIR"),
    *("DBUS_SESSION_BUS_ADDRESS", "PINENTRY_USER_DATA"),
)
"""What the agent may need to ask for a passphrase or a card."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """The keys of a release. `openpgp` is whatever gpg's --local-user takes, of the home folder
    `openpgp_home` or else the user's own; `minisign` is the file of a secret key."""

    openpgp: str = ""
    openpgp_home: Path | None = None
    minisign: Path | None = None
    ed25519: PrivateKey | None = None


class _Scheme(Protocol):
    """One kind of signature. `identity` changes with the key."""

    ending: str

    @property
    def identity(self) -> str: ...

    def detached(self, read: Read) -> bytes: ...


class Signers:
    """All keys of a release: a `Signer`. What was signed before keeps its signature."""

    def __init__(self, keys: Keys, facts: Facts) -> None:
        self._facts = facts
        self._openpgp = OpenPgp(keys.openpgp, keys.openpgp_home) if keys.openpgp else None
        streaming: list[_Scheme] = [self._openpgp] if self._openpgp else []
        if keys.minisign:
            streaming.append(Minisign.of(keys.minisign))
        small: list[_Scheme] = []
        if keys.ed25519:
            small.append(Ed25519(keys.ed25519))
        self._streaming, self._all = tuple(streaming), (*streaming, *small)

    @property
    def identities(self) -> tuple[str, ...]:
        """Who signs, such as fingerprints; `BadInput` where a key cannot."""
        return tuple(one.identity for one in self._all)

    def clear_signed(self, text: str) -> str:
        """The text with an OpenPGP clear signature around it; as it is without such a key."""
        if not (key := self._openpgp):
            return text
        fact = Fact(f"clear-signed by {key.identity}", key.clear_signed)
        return self._facts.of_content(text.encode(), fact).decode()

    def detached(self, content: bytes) -> dict[str, bytes]:
        return {one.ending: self._facts.of_content(content, _fact(one)) for one in self._all}

    def facts(self) -> dict[str, Fact]:
        return {one.ending: _fact(one) for one in self._streaming}


def signers_of(keys: Keys, facts: Facts) -> Signers | None:
    """None if there are no keys. One that cannot sign is refused now, not after an hour's work;
    a key whose passphrase the agent does not know yet, when it signs."""
    signers = Signers(keys, facts)
    return signers if signers.identities else None


def _fact(scheme: _Scheme) -> Fact:
    return Fact(f"signed by {scheme.identity}", scheme.detached)


@dataclass(frozen=True)
class Ed25519:
    key: PrivateKey
    ending = RAW

    @property
    def identity(self) -> str:
        return str(self.key.public)

    def detached(self, read: Read) -> bytes:
        return self.key.secret.sign(b"".join(pieces_of(read)))


@dataclass(frozen=True)
class Minisign:
    """Signs as minisign does since 0.6: the BLAKE2b of the content."""

    key: SecretKey
    ending = MINISIG

    @classmethod
    def of(cls, file: Path) -> Minisign:
        """The key in `file`; `BadInput` if it is none, or protected by a passphrase."""
        from minisign import Error, SecretKey

        try:
            key = SecretKey.from_file(file)
            encrypted = key.is_encrypted()
        except OSError as error:
            raise BadInput(f"cannot read the minisign key {file}: {error.strerror}") from error
        except (Error, ValueError) as error:
            raise BadInput(f"{file} is not a secret key of minisign: {error}") from error
        if encrypted:
            raise BadInput(
                f"the minisign key {file} is protected by a passphrase, which nobody is asked for",
                "minisign -C -W -s FILE removes it from a copy that only the publisher can read",
            )
        return cls(key)

    @cached_property
    def identity(self) -> str:
        return f"minisign {bytes(self.key.get_public_key()).decode(errors='replace')}"

    def detached(self, read: Read) -> bytes:
        reader = _Reader(read)
        signed = self.key.sign(reader, trusted_comment="signed by stagefarm")
        return bytes(signed) + b"\n"


@dataclass(frozen=True)
class _Reader:
    """A file of which only `read` is wanted."""

    read_some: Read

    def read(self, size: int = -1, /) -> bytes:
        return self.read_some(size)


@dataclass(frozen=True)
class OpenPgp:
    """Signs with the key `name` of gpg."""

    name: str
    home: Path | None = None
    ending = ARMORED

    @cached_property
    def identity(self) -> str:
        """The fingerprints of the key and of the subkeys that can sign; `BadInput` where none
        can."""
        code, listing, _ = self._run("--with-colons", "--list-secret-keys", "--", self.name)
        keys = _signing_keys(listing.decode(errors="replace"))
        if code or not keys:
            where = f" in {self.home}" if self.home else ""
            raise BadInput(
                f"gpg has no secret key {self.name}{where}",
                "gpg --list-secret-keys shows what there is; is the card plugged in?",
            )
        usable = [fingerprint for fingerprint, why in keys if not why]
        if not usable:
            raise BadInput(
                f"the OpenPGP key {self.name} {keys[0][1]}", "extend or replace it: gpg --edit-key"
            )
        return "OpenPGP " + " ".join(usable)

    def detached(self, read: Read) -> bytes:
        return self._sign("--detach-sign", read)

    def clear_signed(self, read: Read) -> bytes:
        return self._sign("--clear-sign", read)

    def _sign(self, how: str, read: Read) -> bytes:
        code, signed, said = self._run(
            *("--armor", "--digest-algo", "SHA512", "--no-emit-version", "--no-comments"),
            *("--local-user", self.name, how),
            read=read,
        )
        if code:
            raise _refusal(self.name, said)
        return signed

    def _run(self, *arguments: str, read: Read = lambda _: b"") -> tuple[int, bytes, str]:
        """The exit code of gpg, its output, and what it says about it."""
        home = ("--homedir", str(self.home)) if self.home else ()
        argv = ["gpg", "--batch", "--no-tty", "--status-fd", "2", *home, *arguments]
        pipe = subprocess.PIPE
        try:
            with piped(argv, env=_environment(), stdin=pipe, stdout=pipe, stderr=pipe) as gpg:
                with killed_on_error(gpg), feeding(gpg.stdin, pieces_of(read)):
                    output = b"".join(drained(gpg.stdout))
                    said = b"".join(drained(gpg.stderr)).decode(errors="replace")
                return gpg.wait(), output, said
        except HostUnfit as error:
            raise HostUnfit(f"cannot sign with OpenPGP: {error}", "install gnupg") from error


def _environment() -> Mapping[str, str]:
    kept = {name: os.environ[name] for name in AGENT_VARIABLES if os.environ.get(name)}
    return standard_environment() | kept | {"LC_ALL": "C"}


_WHY_NOT = {"e": "has expired", "r": "is revoked", "d": "is disabled", "i": "is not valid"}


def _signing_keys(listing: str) -> list[tuple[str, str]]:
    """The fingerprint of each key and subkey that is for signing, and why it cannot sign; empty if
    it can. (gnupg: doc/DETAILS, fields 2, 12 and 10)"""
    found: list[tuple[str, str]] = []
    record: list[str] = []
    for fields in (line.split(":") for line in listing.splitlines()):
        if fields[0] in ("sec", "ssb"):
            record = fields
        elif fields[0] == "fpr" and record and "s" in record[11]:
            missing = "has only its public part here" if record[14] == "#" else ""
            found.append((fields[9], _WHY_NOT.get(record[1], missing)))
            record = []
    return found


_CANNOT_ASK = re.compile(
    r"Inappropriate ioctl|No pinentry|No agent running|Cannot open.*tty|ENOTTY"
)
_CANCELLED = re.compile(r"cancel+ed|Bad passphrase|Timeout")


def _refusal(name: str, said: str) -> BadInput | HostUnfit:
    """Why gpg did not sign, from what it said."""
    lines = [line for line in said.splitlines() if not line.startswith("[GNUPG:]")]
    reason = lines[-1].removeprefix("gpg: ") if lines else "it gave no reason"
    if _CANNOT_ASK.search(said):
        return HostUnfit(
            f"the agent of gpg cannot ask for the passphrase of {name}: {reason}",
            "run it in a terminal with GPG_TTY=$(tty), or unlock the key in the agent beforehand",
        )
    if _CANCELLED.search(said):
        return HostUnfit(f"the passphrase of {name} was not given: {reason}", "try again")
    return BadInput(f"gpg did not sign with {name}: {reason}")
