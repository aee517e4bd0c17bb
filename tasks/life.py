"""Who this worker is: its host, and this one life of it, which ends with its main process.

Set before the pool's processes are forked, so that they speak for the same life.
"""

from __future__ import annotations

from uuid import uuid4

from tasks.errors import StagefarmError
from tasks.ledger import Holder

_lives: list[Holder] = []


def begin(host: str) -> Holder:
    _lives[:] = [Holder(host, uuid4().hex)]
    return _lives[0]


def current() -> Holder:
    if not _lives:
        raise StagefarmError("this process is no worker", "start one with `stagefarm worker`")
    return _lives[0]
