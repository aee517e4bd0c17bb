"""Verification of tarballs: checksums, checksum files, OpenPGP signatures."""

from __future__ import annotations

import base64
import hashlib
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tasks.errors import HostUnfit, SourceFailed
from tasks.host import process
from tasks.model import Source
from tasks.reporting import Stream

_LENGTHS = {64: "sha256", 128: "sha512"}
STRONG = ("sha512", "sha256")


def expected(source: Source) -> dict[str, str]:
    """The checksums that the source itself names, by algorithm."""
    named = {"sha256": source.sha256, "sha512": source.sha512}
    return {algorithm: value.lower() for algorithm, value in named.items() if value}


def sums(file: Path, wanted: Mapping[str, str], *, name: str) -> None:
    """`SourceFailed` unless `file` has all the checksums `wanted`."""
    for algorithm, value in wanted.items():
        if (found := digest(file, algorithm)) != value:
            raise SourceFailed(
                f"{name}: its {algorithm} is {found}, not {value}",
                "the file was changed where it comes from, or on the way; check the source",
            )


def digest(file: Path, algorithm: str = "sha256") -> str:
    with file.open("rb", buffering=0) as opened:
        return hashlib.file_digest(opened, algorithm).hexdigest()


def parse_checksums(text: str, name: str) -> dict[str, str]:
    """The strong checksums that a `.sha256`, `.DIGESTS` or BSD style file gives for the file
    `name`; a lone checksum is taken as that of the one file it can be for.

    In a Gentoo `.DIGESTS` file two algorithms have checksums of one length, so a `# SHA512 HASH`
    line above says which.
    """
    found: dict[str, str] = {}
    algorithm = ""
    for line in text.splitlines():
        if heading := re.fullmatch(r"#\s*([A-Za-z0-9]+) HASH\s*", line):
            algorithm = heading[1].lower()
        elif entry := _entry(line, name):
            kind = entry[0] or algorithm or _LENGTHS.get(len(entry[1]), "")
            found.setdefault(kind, entry[1])
    return {kind: value for kind, value in found.items() if kind in STRONG}


def _entry(line: str, name: str) -> tuple[str, str] | None:
    """The algorithm, if the line names it, and the checksum of a line that is about `name`."""
    if bsd := re.fullmatch(r"(\w+) ?\((.+)\) = ([0-9a-fA-F]+)\s*", line):
        return (bsd[1].lower(), bsd[3].lower()) if Path(bsd[2]).name == name else None
    if gnu := re.fullmatch(r"([0-9a-fA-F]{32,128})(?:[ \t]+\*?(\S.*?))?\s*", line):
        named = gnu[2] is None or Path(gnu[2]).name == name
        return ("", gnu[1].lower()) if named else None
    return None


def signature(keyring: Path, signed: Path, detached: Path, *, name: str) -> str:
    """The fingerprint of the key of `keyring` that made the signature `detached` of `signed`;
    `SourceFailed` if none did."""
    return _gpgv(keyring, [str(detached), str(signed)], name)[1]


def signed_text(keyring: Path, file: Path, *, name: str) -> tuple[str, str]:
    """What a key of `keyring` signed in the clear-signed `file`, and nothing around it; and the
    fingerprint of that key."""
    return _gpgv(keyring, ["--output", "-", str(file)], name)


_ARMORED = re.compile(
    rb"-----BEGIN PGP PUBLIC KEY BLOCK-----\n(?:[^\n]+\n)*\n([A-Za-z0-9+/=\n]+?)"
    rb"(?:\n=[A-Za-z0-9+/]{4})?\n+-----END PGP PUBLIC KEY BLOCK-----"
)


def _unarmored(keys: bytes) -> bytes:
    """The keys as gpgv wants them, which does not take them as text (RFC 9580 section 6)."""
    blocks = _ARMORED.findall(keys.replace(b"\r\n", b"\n"))
    return b"".join(map(base64.b64decode, blocks)) if blocks else keys


_STATUS = "[GNUPG:] "
_VALID = re.compile(r"\[GNUPG:\] VALIDSIG ([0-9A-F]{40,64}) (?:\S+ ){8}([0-9A-F]{40,64})")
"""The key that signed, and the primary key that it belongs to: DETAILS of GnuPG."""


def _gpgv(keyring: Path, arguments: list[str], name: str) -> tuple[str, str]:
    if not keyring.is_file():
        raise SourceFailed(
            f"{keyring}: no such keyring", "source.keyring is a file of OpenPGP keys"
        )
    said: dict[Stream, list[str]] = {Stream.STDOUT: [], Stream.STDERR: []}
    with tempfile.NamedTemporaryFile(prefix="stagefarm-", suffix=".gpg") as keys:
        keys.write(_unarmored(keyring.read_bytes()))
        keys.flush()
        try:
            code = process.run(
                ["gpgv", "--status-fd", "2", "--keyring", keys.name, *arguments],
                on_line=lambda line, stream: said[stream].append(line),
                env=process.standard_environment() | {"LC_ALL": "C"},
            )
        except HostUnfit as error:
            raise HostUnfit(f"cannot check a signature: {error}", "install gpgv") from error
    told = [line for line in said[Stream.STDERR] if not line.startswith(_STATUS)]
    if code:
        reason = " / ".join(line.removeprefix("gpgv: ") for line in told[-2:])
        raise SourceFailed(f"{name}: its signature is not good: {reason}")
    valid = [found[2] for line in said[Stream.STDERR] if (found := _VALID.match(line))]
    return "\n".join(said[Stream.STDOUT]), valid[0] if valid else "unknown"
