"""Sprig's random functions."""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import TYPE_CHECKING

from orchestrator.helm.errors import FunctionError
from orchestrator.helm.signature import Function

if TYPE_CHECKING:
    from orchestrator.helm.interpreter import Run

ASCII = "".join(map(chr, range(32, 127)))


def text_of(run: Run, count: int, characters: str) -> str:
    import secrets

    run.budget.reserve(count)
    return "".join(secrets.choice(characters) for _ in range(count))


def rand_alpha_num(run: Run, count: int) -> str:
    return text_of(run, count, string.ascii_letters + string.digits)


def rand_alpha(run: Run, count: int) -> str:
    return text_of(run, count, string.ascii_letters)


def rand_numeric(run: Run, count: int) -> str:
    return text_of(run, count, string.digits)


def rand_ascii(run: Run, count: int) -> str:
    return text_of(run, count, ASCII)


def rand_bytes(run: Run, count: int) -> str:
    import base64
    import secrets

    if count < 0:
        raise FunctionError("makeslice: len out of range")
    run.budget.reserve(count * 2)
    return base64.b64encode(secrets.token_bytes(count)).decode()


def rand_int(low: int, high: int) -> int:
    import secrets

    if high <= low:
        raise FunctionError("invalid argument to Intn")
    return low + secrets.randbelow(high - low)


def shuffle(text: str) -> str:
    from random import SystemRandom

    return "".join(SystemRandom().sample(text, len(text)))


def uuidv4() -> str:
    from uuid import uuid4

    return str(uuid4())


FUNCTIONS: Mapping[str, Function] = {
    "randAlpha": rand_alpha,
    "randAlphaNum": rand_alpha_num,
    "randAscii": rand_ascii,
    "randBytes": rand_bytes,
    "randInt": rand_int,
    "randNumeric": rand_numeric,
    "shuffle": shuffle,
    "uuidv4": uuidv4,
}
