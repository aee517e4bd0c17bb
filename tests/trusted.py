"""Keys, and machines that trust them."""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tasks.model import Build, Hook, HookType, Step, StepKind
from tasks.results import Artifact
from tasks.trust.builds import Job, sign, stored, verified
from tasks.trust.keys import PrivateKey
from tasks.trust.policy import Entry, Submitter, Trust
from tests.builds import any_build
from tests.ledgers import a_build

NOW = time.time()
DAY_S = 24 * 3600.0


@cache
def key(name: str) -> PrivateKey:
    """The key of that name, the same in all processes that run tests."""
    seed = hashlib.sha256(name.encode()).digest()
    return PrivateKey(Ed25519PrivateKey.from_private_bytes(seed))


def submitter(name: str = "anna", **rights: Any) -> Submitter:
    rights = {"outer_hooks": True, "host_privileges": True, **rights}
    return Submitter(name=name, key=str(key(name).public), **rights)


def host(name: str = "one", **rights: Any) -> Entry:
    return Entry(name=name, key=str(key(name).public), **rights)


def trusting(*who: Entry) -> Trust:
    return Trust(
        submitters=tuple(one for one in who if isinstance(one, Submitter)),
        hosts=tuple(one for one in who if not isinstance(one, Submitter)),
        where="trust.toml",
    )


def signed_by(build: Build, by: str = "anna", *, at: float = NOW) -> tuple[str, str]:
    """The JSON of a build and its signatures, as the ledger stores them."""
    from tasks.model import encode

    done, signatures = sign(build, key(by), submitter=by, now=at, valid_s=DAY_S)
    return encode(done).decode(), signatures


def job_of(build: Build | None = None, by: str = "anna") -> Job:
    build = build or a_build()
    return verified(stored(*signed_by(build, by)), trusting(submitter(by)), build.id, at=NOW)


def with_hook(kind: HookType, **changes: object) -> Build:
    hook = Hook(name="h", type=kind, commands=("true",))
    step = Step(number=0, kind=StepKind.HOOKS, phase=kind, file="h.yml", hooks=(hook,))
    publish = Step(number=1, kind=StepKind.PUBLISH)
    return replace(any_build(**changes), steps=(step, publish))


def an_artifact(name: str = "a.tar", sha256: str = "ab" * 32) -> Artifact:
    return Artifact(name=name, path=f"/out/{name}", size_bytes=3, sha256=sha256)
