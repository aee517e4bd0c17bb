"""What goes wrong between this machine and S3, in words that say what to do."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tasks.errors import BadInput, HostUnfit, StagefarmError
from tasks.store.s3_access import renew_clients

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

MISSING = ("NoSuchKey", "404", "NotFound")
UNMET = ("PreconditionFailed", "412", "ConditionalRequestConflict", "409")
"""The answers to a condition that does not hold, or that another writer is meeting just now."""

UNKNOWN = ("NotImplemented", "501")

_CREDENTIALS = "see s3_credentials_file in docs/farm.md, or AWS_ACCESS_KEY_ID and the like"
_WORDS: dict[str, tuple[str, str]] = {
    "NoSuchBucket": ("there is no such bucket", "check store_url and s3_endpoint"),
    "InvalidBucketName": ("that is no name of a bucket", "check store_url"),
    "AccessDenied": (
        "these credentials may not do that here",
        "they have to list, read, write and delete below the prefix, and abort uploads",
    ),
    "InvalidAccessKeyId": ("the server does not know these credentials", _CREDENTIALS),
    "SignatureDoesNotMatch": ("the secret key is not that of the access key", _CREDENTIALS),
    "ExpiredToken": ("the credentials have expired", _CREDENTIALS),
    "InvalidToken": ("the session token is not valid", _CREDENTIALS),
    "RequestTimeTooSkewed": (
        "this machine's clock differs too much from the server's",
        "set the clock, for instance with chrony",
    ),
    "AuthorizationHeaderMalformed": ("the bucket is in another region", "set s3_region"),
    "PermanentRedirect": ("the bucket is in another region", "set s3_region, or s3_endpoint"),
    "IllegalLocationConstraintException": ("the bucket is in another region", "set s3_region"),
    "XAmzContentSHA256Mismatch": ("what was sent was changed on its way", "it is sent again later"),
    "SlowDown": ("the server is busy", "it is asked again later"),
}
_SAME = {
    "ExpiredTokenException": "ExpiredToken",
    "TokenRefreshRequired": "ExpiredToken",
    "RequestExpired": "RequestTimeTooSkewed",
    "403": "AccessDenied",
    "Forbidden": "AccessDenied",
    "301": "PermanentRedirect",
    "503": "SlowDown",
    "Throttling": "SlowDown",
}
_OF_CREDENTIALS = frozenset(
    {"AccessDenied", "ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch"}
)


def code_of(error: ClientError) -> str:
    """The word of the server, or the number of the answer if it has no body."""
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def in_words(url: str) -> Iterator[None]:
    """What the client raises about `url`, as `HostUnfit`; as `FileNotFoundError` if there is no
    such object."""
    from botocore.exceptions import BotoCoreError, ClientError
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ClientError as error:
        if code_of(error) in MISSING:
            raise FileNotFoundError(errno.ENOENT, "no such object", url) from error
        raise _refused(url, error) from error
    except (BotoCoreError, HTTPError) as error:
        raise _failed(url, error) from error


def _refused(url: str, error: ClientError) -> StagefarmError:
    """What the server says, in our words where we have some."""
    code = _SAME.get(code_of(error), code_of(error))
    if code in _OF_CREDENTIALS:
        renew_clients()
    said = str(error.response.get("Error", {}).get("Message", ""))
    words, hint = _WORDS.get(code, (f"the server says {code}: {said}", ""))
    return HostUnfit(f"{url}: {words}", hint)


def _failed(url: str, error: Exception) -> StagefarmError:
    """What kept the question or its answer from arriving."""
    from botocore import exceptions as of

    if isinstance(error, (of.NoCredentialsError, of.PartialCredentialsError)):
        renew_clients()
        return HostUnfit(f"{url}: there are no credentials for S3", _CREDENTIALS)
    if isinstance(error, (of.ParamValidationError, of.InvalidRegionError)):
        return BadInput(f"{url}: {error}", "check store_url and s3_region")
    if isinstance(error, of.SSLError):
        return HostUnfit(f"{url}: {error}", "set s3_ca_file if its authority is your own")
    if isinstance(error, of.EndpointConnectionError):
        return HostUnfit(f"{url}: {error}", "is s3_endpoint right, and can this machine reach it?")
    return HostUnfit(f"{url}: {error}")
