"""Settings of one machine: `STAGEFARM_*` variables over one TOML file, read once and frozen."""

from __future__ import annotations

import os
import socket
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import msgspec

from tasks.errors import BadInput

DEFAULT_FILE = Path("/etc/stagefarm.toml")
PREFIX = "STAGEFARM_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every field can be set as `name` in the file or as `STAGEFARM_NAME` in the environment."""

    state_dir: str = "/var/lib/stagefarm"
    """Folder for everything stagefarm keeps on this machine: builds, seeds, contexts, store."""

    redis_url: str = "redis://127.0.0.1:6379/0"
    """The farm's Redis: broker, results and ledger."""

    redis_password_file: str = ""
    """File whose first line is the Redis password; keeps it out of the environment."""

    key_prefix: str = "stagefarm"
    """First part of every key in Redis, so that several farms can share one server."""

    host: str = field(default_factory=socket.gethostname)
    """This machine's name in the farm."""

    store_url: str = ""
    """Where finished artifacts go, such as `file:///srv/stages`; default `<state_dir>/store`."""

    context_limit_bytes: int = 16 * 1024 * 1024
    """Largest bundle of a submitter's folder, compressed."""

    log_limit_lines: int = 5_000
    """Newest lines of each build kept in Redis; the whole log is a file on the host."""

    log_file_limit_bytes: int = 256 * 1024 * 1024
    """Largest log file of a build on its host and in the store."""

    rootfs: str = "auto"
    """`overlay`, `plain`, or `auto`: overlay where the machine can."""

    lease_s: float = 90.0
    """How long a silent host keeps its builds."""

    heartbeat_s: float = 2.0
    """How often a host renews its leases and hears of cancels and drains."""

    pids_max: int = 16_384
    """Processes one step may have, where control groups can limit them."""

    scan_s: float = 10.0
    """How often the supervisor looks for lost hosts."""

    resend_s: float = 120.0
    """A build queued for so long whose message is gone gets a new one."""

    keep_days: float = 90.0
    """How long the ledger remembers builds that have ended; the store keeps them."""

    stop_grace_s: float = 600.0
    """How long a worker that is told to stop lets its running steps go on."""

    attempts_max: int = 3
    """How often a build is tried when its host is lost."""

    idle_limit_s: float = 8 * 3600.0
    """A step that prints nothing for so long is ended."""

    disk_free_min_bytes: int = 2 * 1024**3
    """A host with less free space in `state_dir` takes no new build."""

    seeds_limit_bytes: int = 64 * 1024**3
    """Unpacked seeds that this machine keeps; those in use are kept whatever their size."""

    unpack_limit_bytes: int = 256 * 1024**3
    """Largest content of a tarball that is unpacked."""

    unpack_limit_ratio: int = 250
    """How many times its own size a tarball may unpack to, once that is more than 1 GiB."""

    zstd_level: int = 3
    """How hard `.zst` tarballs are compressed, 1 to 19."""

    zstd_long: int = 0
    """Window of `.zst` tarballs as a power of two, such as 27; 0 is the level's own."""

    xz_level: int = 6
    """How hard `.xz` tarballs are compressed, 0 to 9."""

    gzip_level: int = 6
    """How hard `.gz` tarballs are compressed, 1 to 9."""

    bzip2_level: int = 9
    """How hard `.bz2` tarballs are compressed, 1 to 9."""

    @property
    def state(self) -> Path:
        return Path(self.state_dir)

    @property
    def store(self) -> str:
        return self.store_url or (self.state / "store").absolute().as_uri()

    def broker_url(self) -> str:
        """`redis_url` with the password of `redis_password_file` put in. Never log it."""
        if not self.redis_password_file:
            return self.redis_url
        parts = urlsplit(self.redis_url)
        user = parts.username or ""
        address = parts.netloc.rpartition("@")[2]
        password = quote(_first_line(self.redis_password_file), safe="")
        return urlunsplit(parts._replace(netloc=f"{user}:{password}@{address}"))


def _first_line(file: str) -> str:
    try:
        return Path(file).read_text().partition("\n")[0].strip()
    except OSError as error:
        raise BadInput(
            f"cannot read the Redis password from {file}: {error.strerror}",
            "set redis_password_file to a file that this user can read",
        ) from error


def load(environ: Mapping[str, str], file: Path | None = None) -> Settings:
    """Settings from `environ` over `file` (default `$STAGEFARM_SETTINGS`, then
    `/etc/stagefarm.toml` if it is there); `BadInput` names what is wrong and where."""
    named = file or (Path(environ[f"{PREFIX}SETTINGS"]) if f"{PREFIX}SETTINGS" in environ else None)
    values = _from_file(named or DEFAULT_FILE, required=named is not None)
    for item in fields(Settings):
        if (variable := PREFIX + item.name.upper()) in environ:
            values[item.name] = environ[variable]
    try:
        return msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise BadInput(f"settings: {error}", "README.md has every setting") from error


def _from_file(file: Path, *, required: bool) -> dict[str, Any]:
    try:
        values = tomllib.loads(file.read_text())
    except FileNotFoundError:
        if required:
            raise BadInput(f"{file}: no such settings file") from None
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadInput(f"{file}: {error}", "expected a TOML file of `name = value`") from error
    known = {item.name for item in fields(Settings)}
    if unknown := sorted(values.keys() - known):
        raise BadInput(
            f"{file}: unknown setting {unknown[0]!r}", f"known are: {', '.join(sorted(known))}"
        )
    return values


@cache
def current() -> Settings:
    """The settings of this process, read on first use."""
    return load(os.environ)
