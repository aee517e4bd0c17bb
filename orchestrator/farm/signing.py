"""Signs what is submitted, and verifies what is taken from the ledger to be built again."""

from __future__ import annotations

import getpass
import socket
import time
from collections.abc import Sequence

from tasks.errors import BadInput, Untrusted
from tasks.ledger.builds import Ledger
from tasks.model import Build
from tasks.settings import Settings
from tasks.trust.builds import Job, sign, stored, verified
from tasks.trust.keys import PrivateKey
from tasks.trust.policy import Submitter, Trust, submit_key, trust_of

DAY_S = 24 * 3600.0


def sign_all(builds: Sequence[Build], settings: Settings) -> tuple[list[Build], dict[str, str]]:
    """`builds` as they are submitted, valid from now, and their signatures by id; none with
    `trust = "redis"`. `BadInput` if a build cannot be signed, or there is no key for it."""
    key = _key(settings)
    submitter, now = f"{getpass.getuser()}@{socket.gethostname()}", time.time()
    valid_s = settings.job_valid_days * DAY_S
    try:
        done = [sign(build, key, submitter=submitter, now=now, valid_s=valid_s) for build in builds]
    except Untrusted as error:
        raise BadInput(f"hosts would refuse the build: {error}", error.hint) from error
    return [build for build, _ in done], {build.id: signatures for build, signatures in done}


def _key(settings: Settings) -> PrivateKey | None:
    return submit_key(settings) if settings.trust == "signed" else None


def sign_unsigned(build: str, ledger: Ledger, settings: Settings) -> Build:
    """Sign `build`, which has no signatures, as it is in the ledger now; returns it. `BadInput` if
    it cannot be signed, or changes meanwhile."""
    before, _ = ledger.signed(build)
    (done,), signatures = sign_all([ledger.build(build)], settings)
    if not ledger.sign(before, done, signatures[build]):
        raise BadInput(f"{build} has just been changed", "look at it, and sign again")
    return done


def known_job(build: str, ledger: Ledger, settings: Settings) -> Job:
    """The job of `build` in the ledger; `Untrusted` if neither this submitter nor anyone whom this
    machine trusts signed it. Whoever signs it again answers for it."""
    return verified(stored(*ledger.signed(build)), own_trust(settings), build, at=None)


def own_trust(settings: Settings) -> Trust:
    """Whom this machine trusts, and the submitter's own key."""
    trust = trust_of(settings)
    if not trust.required:
        return trust
    mine = Submitter(
        name="you", key=str(submit_key(settings).public), outer_hooks=True, host_privileges=True
    )
    return Trust((*trust.submitters, mine), trust.hosts, trust.where)
