"""The signed job and the signed result that lie beside a tarball in the store.

`<tarball>.job.json` is the envelope of the job, `<tarball>.intoto.jsonl` the provenance that the
host signed. Nothing that Redis says takes part in verifying them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tasks.errors import HostUnfit, Untrusted
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


def verified_beside(tarball: Path, trust: Trust, build: str) -> Provenance:
    """What a trusted host built of the trusted job of `build`, by what lies beside `tarball`.
    `Untrusted` if either signature does not verify, or the result does not name the tarball. The
    caller compares its digest."""
    job = verified(
        from_text(_text(tarball.with_name(job_name(tarball.name)))), trust, build, at=None
    )
    result = verified_result(_text(tarball.with_name(result_name(tarball.name))), job, trust)
    if not result.files.get(tarball.name):
        raise Untrusted(f"the signed result of {build} has no {tarball.name}")
    return Provenance(job, result)


def _text(file: Path) -> str:
    try:
        if file.stat().st_size > LIMIT_BYTES:
            raise Untrusted(f"{file} is too large to be a signature")
        return file.read_text()
    except FileNotFoundError as error:
        raise Untrusted(
            f"{error.filename} is missing: the tarball is not signed",
            'it was built without signatures, by an earlier version or with trust = "redis"',
        ) from error
    except UnicodeDecodeError as error:
        raise Untrusted(f"{file} is malformed: {error}") from error
    except OSError as error:
        raise HostUnfit(f"cannot read {file}: {error.strerror}") from error
