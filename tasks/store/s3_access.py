"""How S3 is reached: endpoint, region, credentials. One client for each process.

Credentials come from `s3_credentials_file`, else from where the tools of AWS look: the variables
`AWS_*`, `~/.aws/credentials`, the role of the machine. They stay in this process: a step's
environment has none of these variables.
"""

from __future__ import annotations

import configparser
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from tasks import __version__
from tasks.errors import BadInput, HostUnfit

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

    from tasks.settings import Settings

THREADS = 4
"""Parts of one file that travel at a time."""

CONNECT_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """The settings `s3_*`; empty where AWS's own variables and files decide. `tries`: how often a
    request is tried, each part of a file by itself."""

    endpoint: str = ""
    region: str = ""
    credentials_file: str = ""
    ca_file: str = ""
    addressing: str = "auto"
    timeout_s: float = 60.0
    tries: int = 5

    @classmethod
    def of(cls, settings: Settings) -> Access:
        return cls(
            endpoint=settings.s3_endpoint,
            region=settings.s3_region,
            credentials_file=settings.s3_credentials_file,
            ca_file=settings.s3_ca_file,
            addressing=settings.s3_addressing,
            timeout_s=settings.s3_timeout_s,
        )


@dataclass(frozen=True, slots=True)
class Credentials:
    key_id: str
    secret: str
    token: str | None = None

    def __repr__(self) -> str:
        return f"Credentials({self.key_id!r}, ...)"


_lock = threading.Lock()
_clients: dict[Access, S3Client] = {}


def client(access: Access) -> S3Client:
    """The client of this process; safe to use in several threads. `BadInput` for an endpoint that
    is not a URL, `HostUnfit` if the file of the credentials cannot be used."""
    with _lock:  # making a client is not safe in several threads
        if access not in _clients:
            _clients[access] = _make_client(access)
        return _clients[access]


def renew_clients() -> None:
    """Make clients anew when they are asked for: the credentials were refused, and may have been
    replaced since."""
    with _lock:
        while _clients:
            _clients.popitem()[1].close()


def _forget_in_child() -> None:
    """A connection must not be used by two processes."""
    global _lock  # noqa: PLW0603 - another thread of the parent may have held it
    _lock = threading.Lock()
    _clients.clear()


os.register_at_fork(after_in_child=_forget_in_child)


def _make_client(access: Access) -> S3Client:
    import boto3
    from botocore.config import Config

    given = _read_credentials(access.credentials_file) if access.credentials_file else None
    config = Config(
        retries={"mode": "standard", "total_max_attempts": access.tries},
        s3={
            "addressing_style": cast("Literal['auto', 'virtual', 'path']", access.addressing),
            # The SHA-256 of the body is part of the signature: the one checksum that every server
            # has to verify, and that nobody between can forge.
            "payload_signing_enabled": True,
        },
        connect_timeout=min(CONNECT_TIMEOUT_S, access.timeout_s),
        read_timeout=access.timeout_s,
        max_pool_connections=2 * THREADS,
        user_agent_extra=f"stagefarm/{__version__}",
        # Not every server knows the checksums of newer clients.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    try:
        return boto3.session.Session().client(
            "s3",
            endpoint_url=access.endpoint or None,
            region_name=access.region or _usual_region(),
            verify=access.ca_file or None,
            aws_access_key_id=given.key_id if given else None,
            aws_secret_access_key=given.secret if given else None,
            aws_session_token=given.token if given else None,
            config=config,
        )
    except ValueError as error:
        raise BadInput(
            f"s3_endpoint: {error}", "a URL such as https://s3.example.org, without the bucket"
        ) from error


def _usual_region() -> str:
    """The region of AWS's variables and files; other servers than AWS rarely care."""
    import boto3

    named = os.environ.get("AWS_REGION") or boto3.session.Session().region_name
    return named or "us-east-1"


def _read_credentials(file: str) -> Credentials:
    """The credentials of the profile `AWS_PROFILE`, default `default`, in a file of AWS's form."""
    profile = os.environ.get("AWS_PROFILE") or "default"
    parser = configparser.ConfigParser(interpolation=None, default_section="")
    hint = f"expected [{profile}] with aws_access_key_id and aws_secret_access_key"
    try:
        with open(file, encoding="utf-8") as lines:  # noqa: PTH123
            parser.read_file(lines)
        values = parser[profile]
        key_id, secret = values["aws_access_key_id"], values["aws_secret_access_key"]
        return Credentials(key_id, secret, values.get("aws_session_token"))
    except OSError as error:
        raise HostUnfit(f"s3_credentials_file: cannot read {file}: {error.strerror}") from error
    except KeyError as error:
        raise HostUnfit(f"s3_credentials_file: {file} has no {error}", hint) from error
    except (configparser.Error, UnicodeDecodeError) as error:
        raise HostUnfit(f"s3_credentials_file: {file} is malformed", hint) from error
