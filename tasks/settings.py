"""Settings of a machine: `STAGEFARM_*` variables override a TOML file. Read once, frozen."""

from __future__ import annotations

import os
import socket
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlsplit, urlunsplit

import msgspec
from msgspec import Meta

from tasks.errors import BadInput, why_unreadable
from tasks.host.secret_files import secret_in

DEFAULT_FILE = Path("/etc/stagefarm.toml")
PREFIX = "STAGEFARM_"
REDIS_TIMEOUT_S = 5.0
REDIS_HEALTH_CHECK_S = 15
EVERY = "README.md lists every setting"
SCANS_A_LEASE = 4
"""The scans of the supervisor within one lease, at least: one may be late, one may be lost."""

Name = Annotated[str, Meta(min_length=1)]
Limit = Annotated[int, Meta(ge=0)]
Some = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(ge=0)]
Interval = Annotated[float, Meta(gt=0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Each field can be set as `name` in the file or as `STAGEFARM_NAME` in the environment."""

    state_dir: Name = "/var/lib/stagefarm"
    """Folder for everything stagefarm keeps on this machine: builds, seeds, contexts, store."""

    redis_url: str = "redis://127.0.0.1:6379/0"
    """The farm's Redis: broker and ledger."""

    redis_password_file: str = ""
    """File whose first line is the Redis password; keeps it out of the environment."""

    redis_ca_file: str = ""
    """File with the authorities whose certificates a `rediss://` Redis may have, in addition to
    those that the machine trusts."""

    redis_cert_file: str = ""
    """This machine's certificate for a `rediss://` Redis that asks for one."""

    redis_key_file: str = ""
    """The key of that certificate, without a passphrase; default: it is in `redis_cert_file`."""

    trust: Annotated[str, Meta(pattern="^(signed|redis)$")] = "signed"
    """`signed`: hosts build what a key they trust has signed. `redis`: whatever is in Redis."""

    trust_file: Name = "/etc/stagefarm/trust.toml"
    """Whose keys this machine trusts; without the file, its own."""

    submit_key_file: str = ""
    """The key that signs what is submitted; default: one made on first use."""

    key_passphrase_file: str = ""
    """File whose first line is the passphrase of that key."""

    job_valid_days: Annotated[float, Meta(gt=0)] = 14.0
    """How long after its submission a host may begin a signed build."""

    release_key_file: str = ""
    """The key that signs what is published; default: one made on first use."""

    release_passphrase_file: str = ""
    """File whose first line is the passphrase of that key."""

    release_dir: Name = "/etc/stagefarm/releases"
    """Folder of the release files that batches may name, on the machine that publishes."""

    schedule_dir: str = ""
    """Folder of the batch files whose nights the supervisor makes; none: it makes none."""

    notify_file: str = ""
    """File of URLs that are told what is wrong, one a line; none: the supervisor tells nobody."""

    notify_settle_s: Seconds = 300.0
    """How long something is wrong before anybody is told: what fails meanwhile is told with it."""

    notify_repeat_s: Seconds = 6 * 3600.0
    """How often it is told at most that something wrong has changed, or has come back."""

    notify_per_hour: Some = 20
    """So many messages are made in an hour; what is more is one summary."""

    notify_digest: str = "0 7 * * *"
    """When the digest is sent, as a line of cron; empty: never."""

    notify_timezone: Name = "UTC"
    """Time zone of `notify_digest`, and of the times in messages."""

    report_dir: str = ""
    """Folder of the web site about the releases in `release_dir` that the supervisor keeps up to
    date; none: it writes none."""

    report_s: Interval = 60.0
    """How often, at most, the supervisor writes that site."""

    report_builds: Some = 20_000
    """The newest builds that have a page in a site."""

    key_prefix: Name = "stagefarm"
    """First part of every key in Redis, so that several farms can share one server."""

    host: Name = field(default_factory=socket.gethostname)
    """This machine's name in the farm."""

    store_url: str = ""
    """Where artifacts are stored: `file:///srv/stages` or `s3://bucket/prefix`; default
    `<state_dir>/store`."""

    s3_endpoint: str = ""
    """URL of the S3 server; default: `AWS_ENDPOINT_URL_S3`, else that of AWS."""

    s3_region: str = ""
    """Region of the bucket; default: `AWS_REGION`, `AWS_DEFAULT_REGION`, else `us-east-1`."""

    s3_credentials_file: str = ""
    """File in the form of `~/.aws/credentials`; default: `AWS_*` variables and AWS's own files."""

    s3_ca_file: str = ""
    """File with the authorities whose certificates the S3 server may have."""

    s3_addressing: Annotated[str, Meta(pattern="^(auto|path|virtual)$")] = "auto"
    """Whether the bucket is part of the path or of the server's name; `auto`: of the path if
    `s3_endpoint` is set."""

    s3_timeout_s: Interval = 60.0
    """How long an S3 server may be silent before a request is tried again."""

    context_limit_bytes: Limit = 16 * 1024 * 1024
    """Largest bundle of a submitter's folder, compressed."""

    git_protocols: Annotated[str, Meta(pattern="^[a-z]+(:[a-z]+)*$")] = "https:ssh"
    """How repositories that batches name may be fetched, in the form of `GIT_ALLOW_PROTOCOL`."""

    git_config_file: str = ""
    """Configuration of git for that, such as credential helpers and proxies; default: none."""

    git_timeout_s: Interval = 300.0
    """How long the fetch of a repository may take."""

    git_limit_bytes: Some = 1024**3
    """Largest pack that is fetched, and largest content of a commit."""

    log_limit_lines: Some = 5_000
    """Newest log lines of each build kept in Redis; the whole log is a file on the host."""

    log_file_limit_bytes: Limit = 256 * 1024 * 1024
    """Largest log file of a build on its host and in the store."""

    cause_rules_dir: str = ""
    """Folder of rules of your own (`*.toml`) that say why a build failed, besides those shipped."""

    rootfs: Annotated[str, Meta(pattern="^(auto|overlay|plain)$")] = "auto"
    """`overlay`, `plain`, or `auto`: overlay if the machine supports it."""

    lease_s: Interval = 90.0
    """How long a silent host keeps its builds."""

    heartbeat_s: Interval = 2.0
    """How often a host renews its leases and checks for cancels and drains."""

    pids_max: Some = 16_384
    """Most processes of one step, where control groups are available."""

    scan_s: Interval = 10.0
    """How often the supervisor looks for lost hosts."""

    rebuilds_per_day: Limit = 0
    """So many published builds a day are repeated on hosts that have nothing to do."""

    second_tries: bool = True
    """Whether another host that has nothing to do tries once more what failed."""

    drain_suspects: Limit = 3
    """Of its last five failures that another host tried again, so many that passed there drain a
    host; 0: no number does."""

    resend_s: Seconds = 120.0
    """How long a build may be queued without a message before a new one is sent."""

    keep_days: Annotated[float, Meta(ge=0)] = 90.0
    """How long the ledger keeps builds that have ended; the store keeps their artifacts."""

    stop_grace_s: Seconds = 600.0
    """How long running steps may continue when their worker is stopped."""

    attempts_max: Some = 3
    """How often a build is tried when its host is lost."""

    store_wait_s: Seconds = 600.0
    """How long a build that is packed waits for a store that cannot take it, before the build is
    given to another host."""

    idle_limit_s: Seconds = 8 * 3600.0
    """A step without output for so long is stopped."""

    disk_free_min_bytes: Limit = 2 * 1024**3
    """A host with less free space in `state_dir` takes no new builds."""

    seeds_limit_bytes: Limit = 64 * 1024**3
    """Unpacked seeds and downloads that this machine keeps; those in use always stay."""

    packages_limit_bytes: Limit = 16 * 1024**3
    """Packages downloaded by anise that this machine keeps."""

    unpack_limit_bytes: Limit = 256 * 1024**3
    """Largest content of a tarball that is unpacked."""

    unpack_limit_ratio: Some = 250
    """How many times its own size a tarball may unpack to, once that is more than 1 GiB."""

    download_tries: Some = 6
    """Consecutive tries without progress before a download fails."""

    zstd_level: Annotated[int, Meta(ge=1, le=19)] = 3
    """Compression level of `.zst` tarballs, 1 to 19."""

    zstd_long: Annotated[int, Meta(ge=0, le=31)] = 0
    """Window of `.zst` tarballs as a power of two, such as 27; 0: the default of the level."""

    xz_level: Annotated[int, Meta(ge=0, le=9)] = 6
    """Compression level of `.xz` tarballs, 0 to 9."""

    gzip_level: Annotated[int, Meta(ge=1, le=9)] = 6
    """Compression level of `.gz` tarballs, 1 to 9."""

    bzip2_level: Annotated[int, Meta(ge=1, le=9)] = 9
    """Compression level of `.bz2` tarballs, 1 to 9."""

    @property
    def state(self) -> Path:
        return Path(self.state_dir)

    @property
    def own_state(self) -> Path:
        """Where whoever runs this keeps what is no worker's: root in `state_dir`, others in their
        home."""
        if os.geteuid() == 0:
            return self.state
        return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state", "stagefarm")

    @property
    def store(self) -> str:
        return self.store_url or (self.state / "store").absolute().as_uri()

    @property
    def keys(self) -> Path:
        """The folder of this machine's own keys."""
        return self.state / "keys"

    def key_passphrase(self) -> str:
        """The passphrase of the submitter's key; empty if none is set."""
        file = self.key_passphrase_file
        return secret_in("key_passphrase_file", file, "the passphrase") if file else ""

    def release_passphrase(self) -> str:
        """The passphrase of the release's key; empty if none is set."""
        file = self.release_passphrase_file
        return secret_in("release_passphrase_file", file, "the passphrase") if file else ""

    def broker_url(self) -> str:
        """`redis_url` with the password from `redis_password_file`. Never log it."""
        if not self.redis_password_file:
            return self.redis_url
        parts = urlsplit(self.redis_url)
        user = parts.username or ""
        address = parts.netloc.rpartition("@")[2]
        password = secret_in("redis_password_file", self.redis_password_file, "the Redis password")
        return urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{address}"))

    def broker_tls(self) -> dict[str, str | bool]:
        """How to connect to a `rediss://` Redis, as options of redis-py, which kombu and Flower
        take too; empty without TLS. The server's certificate and name are always verified."""
        if not self.redis_url.startswith("rediss://"):
            return {}
        files = {
            "ssl_ca_certs": self.redis_ca_file,
            "ssl_certfile": self.redis_cert_file,
            "ssl_keyfile": self.redis_key_file,
        }
        given = {option: file for option, file in files.items() if file}
        return {**given, "ssl_cert_reqs": "required", "ssl_check_hostname": True}


def load(environ: Mapping[str, str], file: Path | None = None) -> Settings:
    """Settings from `environ`, which override `file` (default `$STAGEFARM_SETTINGS`, then
    `/etc/stagefarm.toml` if it exists); `BadInput` with the invalid setting and its source."""
    given = environ.get(f"{PREFIX}SETTINGS")
    named = file or (Path(given) if given else None)
    values = _from_file(named or DEFAULT_FILE, required=named is not None)
    places = {name: f"{named or DEFAULT_FILE}: {name}" for name in values}
    for variable, name in _variables(environ):
        values[name], places[name] = environ[variable], variable
    try:
        settings = msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        what, _, name = str(error).rstrip("`").rpartition(" - at `$.")
        raise BadInput(f"{places[name]}: {what[0].lower()}{what[1:]}", EVERY) from error
    if settings.lease_s < SCANS_A_LEASE * settings.scan_s:
        raise BadInput(
            f"lease_s is {settings.lease_s:g} and scan_s {settings.scan_s:g}",
            f"lease_s must be at least {SCANS_A_LEASE} * scan_s, or live hosts lose their builds",
        )
    _check_tls(settings)
    return settings


def _check_tls(settings: Settings) -> None:
    """`BadInput` if files for TLS are given but would not be used."""
    if "ssl_" in urlsplit(settings.redis_url).query:
        raise BadInput(
            "redis_url has options of TLS, which could turn its verification off",
            "use redis_ca_file, redis_cert_file and redis_key_file",
        )
    for name in ("redis_ca_file", "redis_cert_file", "redis_key_file"):
        if getattr(settings, name) and settings.redis_url.startswith("redis://"):
            raise BadInput(
                f"{name} is set, but redis_url begins with redis://, which is without TLS",
                "set redis_url to rediss://HOST:PORT/0",
            )
    if settings.redis_key_file and not settings.redis_cert_file:
        raise BadInput(
            "redis_key_file is set, but redis_cert_file is not",
            "set redis_cert_file to the certificate of that key",
        )


def _variables(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Each variable that is a setting, and the setting's name. One that looks like a misspelled
    setting is `BadInput`; others, such as those of Kubernetes services, are ignored."""
    for variable in environ:
        name = variable.removeprefix(PREFIX).lower()
        if name in NAMES and variable == PREFIX + name.upper():
            yield variable, name
        elif variable.startswith(PREFIX) and (near := _near(name)):
            raise BadInput(f"{variable} is not a setting", f"did you mean {PREFIX}{near.upper()}?")


def _from_file(file: Path, *, required: bool) -> dict[str, Any]:
    try:
        values = tomllib.loads(file.read_text())
    except FileNotFoundError:
        if required:
            raise BadInput(f"{file}: no such settings file") from None
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(
            f"cannot read the settings in {file}: {why_unreadable(error)}",
            f"let this user read it, or name another file in {PREFIX}SETTINGS",
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{file}: {error}", "expected a TOML file of `name = value`") from error
    for name in sorted(values.keys() - NAMES):
        near = _near(name)
        raise BadInput(
            f"{file}: unknown setting {name!r}", (near and f"did you mean {near}?") or EVERY
        )
    return values


NAMES = frozenset(item.name for item in fields(Settings))

DEFAULTS = Settings()
"""The defaults, for code that is used without the settings of a machine."""


def _near(name: str) -> str:
    """The setting with the most similar name; empty if none is similar."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(name, NAMES, n=1, cutoff=0.8)), "")


@cache
def current() -> Settings:
    """The settings of this process, read on first use."""
    return load(os.environ)
