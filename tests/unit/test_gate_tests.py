"""The results of tests beside a tarball: written, read back, and read where they are hostile."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.artifacts.gate_tests import (
    LIMIT_BYTES,
    MESSAGE_MAX_CHARS,
    TESTS_MAX,
    GateTest,
    Outcome,
    content,
    read,
)
from tasks.artifacts.manifest import write_tests
from tasks.errors import Untrusted
from tasks.settings import Settings
from tasks.store.opening import stored_file
from tasks.store.store import StoredFile

FAILED = GateTest(name="shell", outcome=Outcome.FAILED, message="exited with 3", duration_s=0.25)
SKIPPED = GateTest(name="boot", outcome=Outcome.SKIPPED, message="the stage has no init")


def stored(path: Path) -> StoredFile:
    return stored_file(str(path), Settings())


def given(folder: Path, text: bytes) -> StoredFile:
    (folder / "t").write_bytes(text)
    return stored(folder / "t")


def test_what_was_tested_is_read_back_from_beside_the_tarball(tmp_path: Path) -> None:
    made = write_tests(tmp_path / "a.tar", (FAILED, SKIPPED))
    assert made.name == "a.tar.tests.json"
    assert read(stored(tmp_path / "a.tar").sibling(made.name)) == (FAILED, SKIPPED)
    assert json.loads((tmp_path / made.name).read_text())["tests"][0]["outcome"] == "failed"


def test_a_tarball_that_was_not_tested_has_no_results(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(stored(tmp_path / "a.tar.tests.json"))


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"tests": [{"name": "x"}]}'),
        b'{"tests": [{"name": "x", "outcome": "splendid"}]}',
        b'{"tests": [{"name": 3, "outcome": "passed"}]}',
        json.dumps({"tests": [{"name": "x", "outcome": "passed"}] * (TESTS_MAX + 1)}).encode(),
        b" " * (LIMIT_BYTES + 1),
    ],
    ids=lambda text: str(text[:40]),
)
def test_what_is_no_result_is_refused(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(Untrusted, match="is malformed|is too large"):
        read(given(tmp_path, text))


def test_names_and_messages_can_be_printed_and_are_bounded(tmp_path: Path) -> None:
    odd = GateTest(name="a\x1b[2Jb\nc", outcome=Outcome.FAILED, message="\u202e" + "x" * 10_000_000)
    (written,) = read(given(tmp_path, content((odd,))))
    assert written.name == "a [2Jb c"
    assert written.message == " " + "x" * (MESSAGE_MAX_CHARS - 2) + "…"
    raw = json.dumps({"tests": [{"name": "a\x1bb", "outcome": "failed", "message": "y" * 9999}]})
    (found,) = read(given(tmp_path, raw.encode()))
    assert (found.name, len(found.message)) == ("a b", MESSAGE_MAX_CHARS)
