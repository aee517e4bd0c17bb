"""The signed jobs that this host acts on.

A job is verified before it is claimed, and then kept in the attempt's folder: what the host does
from then on depends on that file, not on what Redis says later.
"""

from __future__ import annotations

import time
from pathlib import Path

from tasks.errors import HostUnfit, StagefarmError, Untrusted
from tasks.host.files import replaced
from tasks.ledger.builds import Ledger
from tasks.settings import Settings
from tasks.trust.builds import Job, read, stored, verified
from tasks.trust.policy import trust_of

JOB_FILE = "job.json"


def verified_job(ledger: Ledger, settings: Settings, build: str, queues: tuple[str, ...]) -> Job:
    """The job of `build` in the ledger, to be claimed now; `Untrusted` if it must not be, and
    `HostUnfit` if another version of stagefarm wrote it in a form that this one cannot read."""
    envelope = stored(*ledger.signed(build))
    try:
        return verified(envelope, trust_of(settings), build, at=time.time(), queues=queues)
    except Untrusted:
        ledger.build(build)  # raises if it cannot be read, and says which version wrote it
        raise


def keep_job(home: Path, job: Job) -> None:
    """Write the job to the attempt's folder, unless there is one, which stays; `HostUnfit` if that
    fails. Only for who holds the folder's lock."""
    if (home / JOB_FILE).exists():
        return
    try:
        with replaced(home / JOB_FILE) as file:
            file.write(job.text.encode())
    except OSError as error:
        raise HostUnfit(f"cannot write {home / JOB_FILE}: {error.strerror}") from error


def kept_job(home: Path) -> Job:
    """The job that `keep_job` wrote; `HostUnfit` if there is none."""
    try:
        return read((home / JOB_FILE).read_text())
    except (OSError, StagefarmError) as error:
        raise HostUnfit(f"cannot read {home / JOB_FILE}: {error}") from error
