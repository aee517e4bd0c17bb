"""The signed job and the signed result that lie beside a tarball in the store.

`<tarball>.job.json` is the envelope of the job, `<tarball>.intoto.jsonl` the provenance that the
host signed. Nothing that Redis says takes part in verifying them.
"""

from __future__ import annotations

from dataclasses import dataclass

from tasks.errors import HostUnfit, Untrusted
from tasks.store.store import StoredFile
from tasks.trust.builds import Job, verified
from tasks.trust.envelope import from_text
from tasks.trust.policy import Trust
from tasks.trust.statements import Result, verified_result

LIMIT_BYTES = 64 * 2**20
"""A larger file is not one of these."""


def job_name(tarball: str) -> str:
    return f"{tarball}.job.json"


def result_name(tarball: str) -> str:
    return f"{tarball}.intoto.jsonl"


@dataclass(frozen=True, slots=True)
class Provenance:
    """Who had a tarball built of what, and what its host says of it."""

    job: Job
    result: Result


def verified_beside(tarball: StoredFile, trust: Trust, build: str) -> Provenance:
    """What a trusted host built of the trusted job of `build`, by what lies beside `tarball`.
    `Untrusted` if either signature does not verify, or the result does not name the tarball. The
    caller compares its digest."""
    job = verified(from_text(_text(tarball.sibling(job_name(tarball.name)))), trust, build, at=None)
    result = verified_result(_text(tarball.sibling(result_name(tarball.name))), job, trust)
    if not result.files.get(tarball.name):
        raise Untrusted(f"the signed result of {build} has no {tarball.name}")
    return Provenance(job, result)


def _text(file: StoredFile) -> str:
    try:
        if file.size() > LIMIT_BYTES:
            raise Untrusted(f"{file.url} is too large to be a signature")
        return file.read(LIMIT_BYTES).decode()
    except FileNotFoundError as error:
        raise Untrusted(
            f"{error.filename} is missing: the tarball is not signed",
            'it was built without signatures, by an earlier version or with trust = "redis"',
        ) from error
    except UnicodeDecodeError as error:
        raise Untrusted(f"{file.url} is malformed: {error}") from error
    except OSError as error:
        raise HostUnfit(f"cannot read {file.url}: {error.strerror}") from error
