"""The signed job and the signed result that lie beside a tarball in the store.

`<tarball>.job.json` is the envelope of the job, `<tarball>.intoto.jsonl` the provenance that the
host signed. Nothing that Redis says takes part in verifying them. Results of hosts that built the
tarball again are in `<tarball>.rebuild-<host>.intoto.jsonl`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tasks.errors import HostUnfit, Untrusted
from tasks.store.store import StoredFile
from tasks.trust.builds import Job, verified
from tasks.trust.envelope import from_text
from tasks.trust.policy import Trust
from tasks.trust.statements import Result, verified_result

LIMIT_BYTES = 64 * 2**20
"""A larger file is not one of these."""

_REBUILD_END = ".intoto.jsonl"
_UNSAFE = re.compile(r"[^A-Za-z0-9_+-]+")


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


# Rebuilds


def record_rebuild(tarball: StoredFile, again: StoredFile, host: str) -> StoredFile:
    """Put the signed result beside `again`, which `host` has built, beside the `tarball` that it
    repeats; returns the file, which has a line for each rebuild on that host. `HostUnfit` if the
    store does not take it."""
    file = tarball.sibling(f"{_rebuild_prefix(tarball.name)}{_UNSAFE.sub('-', host)}{_REBUILD_END}")
    line = _text(again.sibling(result_name(again.name))).strip()
    try:
        known = file.read(LIMIT_BYTES).decode().splitlines()
    except FileNotFoundError:
        known = []
    except (OSError, UnicodeDecodeError) as error:
        raise HostUnfit(f"cannot read {file.url}: {error}") from error
    if line not in known:
        file.write("".join(f"{one}\n" for one in [*known, line]).encode())
    return file


def rebuilds_beside(tarball: StoredFile) -> list[bytes]:
    """The contents of the files that `record_rebuild` wrote beside the tarball."""
    prefix = _rebuild_prefix(tarball.name)
    try:
        return [
            file.read(LIMIT_BYTES)
            for file in tarball.sidecars()
            if file.name.startswith(prefix) and file.name.endswith(_REBUILD_END)
        ]
    except OSError as error:
        raise HostUnfit(f"cannot read {error.filename}: {error.strerror}") from error


def _rebuild_prefix(tarball: str) -> str:
    return f"{tarball}.rebuild-"
