"""Whom this machine trusts: `trust.toml`, or without one, the keys of this machine itself.

[[submitter]]                       # may have built what it signs
name = "anna"
key = "ed25519:…"
queues = ["x86-64bit.*"]            # patterns; default: all
outer_hooks = false                 # also anise sources, and folders of the host outside `paths`
host_privileges = false             # hooks with `privileges: host`, and fchroot
accept_findings = false             # its waivers count: what the gate found is published
paths = ["/workspace"]              # folders of the host that its builds may use
until = 2027-01-01                  # optional

[[host]]                            # its results and checkpoints are taken
name = "builder7"
key = "ed25519:…"
queues = ["*"]
"""

from __future__ import annotations

import os
import stat
import tomllib
from dataclasses import dataclass
from datetime import UTC, date, datetime
from fnmatch import fnmatchcase
from pathlib import Path, PurePath
from typing import Any

import msgspec

from tasks.errors import BadInput, HostUnfit
from tasks.settings import Settings
from tasks.trust.keys import PrivateKey, PublicKey, public_file, read_key, read_or_make

SUBMIT_KEY, HOST_KEY, RELEASE_KEY = "submit.key", "host.key", "release.key"
SEE = "docs/security.md describes trust.toml"


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A key, whose it is, for which queues and until when. A revoked one stays in the file, so that
    it is not trusted again by mistake."""

    name: str
    key: str
    queues: tuple[str, ...] = ("*",)
    until: date | None = None
    revoked: bool = False

    def __post_init__(self) -> None:
        try:
            PublicKey.parse(self.key)
        except BadInput as error:
            raise ValueError(str(error)) from error

    @property
    def public(self) -> PublicKey:
        return PublicKey.parse(self.key)

    def serves(self, queue: str) -> bool:
        return any(fnmatchcase(queue, pattern) for pattern in self.queues)

    def ended(self, now: float) -> str:
        """Why the key is not valid at `now`, in seconds since 1970; empty if it is."""
        if self.revoked:
            return "was revoked"
        if self.until and datetime.fromtimestamp(now, UTC).date() > self.until:
            return f"was valid until {self.until}"
        return ""


class Submitter(Entry, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`outer_hooks` covers everything that is done outside of the root filesystem by a build's
    choice; without it a build may use folders of the host below `paths` only. `accept_findings` is
    about publishing: findings of the gate that it accepts do not hold a stage."""

    outer_hooks: bool = False
    host_privileges: bool = False
    accept_findings: bool = False
    paths: tuple[str, ...] = ("/workspace",)

    def may_use(self, path: str) -> bool:
        """Whether a build without `outer_hooks` may use this folder or file of the host."""
        wanted = PurePath(os.path.normpath(path))
        return wanted.is_absolute() and any(wanted.is_relative_to(one) for one in self.paths)


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    submitter: tuple[Submitter, ...] = ()
    host: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True)
class Trust:
    """`where` is the file, empty for a machine that trusts only itself. With `required` false
    nothing is verified: `trust = "redis"`."""

    submitters: tuple[Submitter, ...] = ()
    hosts: tuple[Entry, ...] = ()
    where: str = ""
    required: bool = True


NOT_REQUIRED = Trust(required=False)


def trust_of(settings: Settings) -> Trust:
    """Whom this machine trusts now; `BadInput` if its trust file cannot be used.

    The machine always trusts its own host key. Without a file it trusts its own submitter's key
    too, with all rights.
    """
    if settings.trust == "redis":
        return NOT_REQUIRED
    own_host = tuple(_own(settings, HOST_KEY, Entry))
    file = Path(settings.trust_file)
    if not file.exists():
        everything = {"outer_hooks": True, "host_privileges": True, "accept_findings": True}
        return Trust(tuple(_own(settings, SUBMIT_KEY, Submitter, **everything)), own_host)
    found = read_trust(file)
    return Trust(found.submitters, (*found.hosts, *own_host), found.where)


def read_trust(file: Path) -> Trust:
    """What `file` says; `BadInput` with what is wrong in it."""
    try:
        _require_safe(file)
        value = tomllib.loads(file.read_text())
        found = msgspec.convert(value, _File)
    except OSError as error:
        raise BadInput(f"cannot read {file}: {error.strerror}", SEE) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{file}: {error}", SEE) from error
    except msgspec.ValidationError as error:
        raise BadInput(f"{file}: {error}", SEE) from error
    return Trust(found.submitter, found.host, str(file))


def _require_safe(file: Path) -> None:
    """Whoever can write the file decides what runs here as root."""
    told = file.stat()
    if told.st_uid not in (0, os.geteuid()) or stat.S_IMODE(told.st_mode) & 0o022:
        raise BadInput(
            f"others than root can write {file}", f"chown root {file} && chmod 644 {file}"
        )


def _own(settings: Settings, name: str, kind: type[Any], **rights: bool) -> list[Any]:
    file = public_file(settings.keys / name)
    try:
        return [kind(name="this machine", key=file.read_text().strip(), **rights)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise HostUnfit(f"cannot read {file}: {error.strerror}") from error


# The keys of this machine


def host_key(settings: Settings) -> PrivateKey:
    """The key that signs what this host makes; it is made on first use."""
    return read_or_make(settings.keys / HOST_KEY)


def submit_key(settings: Settings) -> PrivateKey:
    """The submitter's key; without `submit_key_file` it is made on first use."""
    passphrase = settings.key_passphrase()
    if settings.submit_key_file:
        return read_key(Path(settings.submit_key_file), passphrase)
    return read_or_make(default_submit_key(settings), passphrase)


def release_key(settings: Settings, file: Path | None = None) -> PrivateKey:
    """The key that signs what is published: that in `file`, in `release_key_file`, or one that is
    made on first use."""
    named = file or (Path(settings.release_key_file) if settings.release_key_file else None)
    passphrase = settings.release_passphrase()
    return (
        read_key(named, passphrase)
        if named
        else read_or_make(own_key_file(settings, RELEASE_KEY), passphrase)
    )


def own_release_keys(settings: Settings) -> tuple[PublicKey, ...]:
    """The public part of the key with which this machine publishes, if it has one that can be
    read."""
    named = settings.release_key_file
    file = public_file(Path(named) if named else own_key_file(settings, RELEASE_KEY))
    try:
        return (PublicKey.parse(file.read_text()),)
    except (OSError, BadInput):
        return ()


def default_submit_key(settings: Settings) -> Path:
    """For root the machine's own, which its worker trusts; for others one in their home."""
    return own_key_file(settings, SUBMIT_KEY)


def own_key_file(settings: Settings, name: str) -> Path:
    if os.geteuid() == 0:
        return settings.keys / name
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base, "stagefarm", name)
