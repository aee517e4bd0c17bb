"""The results of the tests that a build host runs in a stage before it is published.

They lie beside the tarball as `<tarball>.tests.json`, among the files whose digests the host signs.
A stage may have written part of the messages, and whoever can write to the store the whole file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from tasks.errors import Untrusted
from tasks.store.store import StoredFile

ENDING = "tests.json"
LIMIT_BYTES = 4 * 2**20
TESTS_MAX = 1000
NAME_MAX_CHARS, MESSAGE_MAX_CHARS = 200, 2000


class Outcome(StrEnum):
    """`skipped`: the stage has nothing to test, or the host cannot."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateTest:
    """One test: its name, such as `shell`, or that of a hook; `message` says why it failed or was
    skipped, or what else is to be known."""

    name: str
    outcome: Outcome
    message: str = ""
    duration_s: float = 0.0


class _File(msgspec.Struct):
    tests: tuple[GateTest, ...]


def content(tests: Sequence[GateTest]) -> bytes:
    """The content of the file of `tests`."""
    made = _File(tests=tuple(_printable(test) for test in tests[:TESTS_MAX]))
    return msgspec.json.format(msgspec.json.encode(made), indent=1) + b"\n"


def read(file: StoredFile) -> tuple[GateTest, ...]:
    """The tests in a file that the caller has compared, or will compare, with its signed digest;
    names and messages can be printed. `FileNotFoundError` if there is none, `Untrusted` if it is
    malformed or too large."""
    if file.size() > LIMIT_BYTES:
        raise Untrusted(f"{file.url} is too large to be the results of tests")
    return parse(file.read(LIMIT_BYTES), file.url)


def parse(text: bytes, origin: str) -> tuple[GateTest, ...]:
    """The tests in the content of such a file; `Untrusted` if it is malformed."""
    try:
        tests = msgspec.json.decode(text, type=_File).tests
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Untrusted(f"{origin} is malformed: {error}") from error
    if len(tests) > TESTS_MAX:
        raise Untrusted(f"{origin} is malformed: it has more than {TESTS_MAX} tests")
    return tuple(_printable(test) for test in tests)


def _printable(test: GateTest) -> GateTest:
    return GateTest(
        name=_cut(test.name, NAME_MAX_CHARS),
        outcome=test.outcome,
        message=_cut(test.message, MESSAGE_MAX_CHARS),
        duration_s=test.duration_s,
    )


def _cut(text: str, limit: int) -> str:
    printable = "".join(char if char.isprintable() else " " for char in text[: limit + 1])
    return printable if len(printable) <= limit else f"{printable[: limit - 1]}…"
