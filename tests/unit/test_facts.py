"""What is learned of contents: once, in one pass, and only of the right content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.release.catalog import File
from orchestrator.release.facts import DAY_S, Fact, Facts
from tasks.archive.decompress import Read, pieces_of
from tasks.errors import BadInput, Untrusted

BODY = b"0123456789abcdef" * 40_000
FILE = File(name="a.tar", size_bytes=len(BODY), sha256=hashlib.sha256(BODY).hexdigest())


class Store:
    def __init__(self, body: bytes = BODY) -> None:
        self.body = body
        self.passes = 0

    def pieces(self, file: File) -> Iterator[bytes]:
        self.passes += 1
        for start in range(0, len(self.body), 1000):
            yield self.body[start : start + 1000]


def hashed(algorithm: str) -> Fact:
    def learn(read: Read) -> bytes:
        digest = hashlib.new(algorithm)
        for piece in pieces_of(read):
            digest.update(piece)
        return digest.hexdigest().encode()

    return Fact(algorithm, learn)


def first_bytes(read: Read) -> bytes:
    return read(7)


def refusing(read: Read) -> bytes:
    raise BadInput("no")


def test_several_facts_are_learned_in_one_pass_and_kept(tmp_path: Path) -> None:
    store = Store()
    facts = [hashed("sha512"), Fact("first", first_bytes), hashed("md5")]
    expected = (
        hashlib.sha512(BODY).hexdigest().encode(),
        b"0123456",
        hashlib.md5(BODY).hexdigest().encode(),
    )
    assert Facts(tmp_path).learn(FILE, facts, store.pieces) == expected
    assert Facts(tmp_path).learn(FILE, facts, store.pieces) == expected
    assert Facts(tmp_path).of(FILE, facts[0], store.pieces) == expected[0]
    assert store.passes == 1


@pytest.mark.parametrize("body", [BODY[:-1], BODY + b"x", b"x" + BODY[1:], b""])
def test_of_another_content_nothing_is_learned(tmp_path: Path, body: bytes) -> None:
    store = Store(body)
    facts = Facts(tmp_path)
    with pytest.raises(Untrusted, match="not what the catalog says"):
        facts.of(FILE, hashed("md5"), store.pieces)
    store.body = BODY
    assert facts.of(FILE, hashed("md5"), store.pieces) == hashlib.md5(BODY).hexdigest().encode()


def test_one_that_fails_stops_the_others_and_nothing_waits(tmp_path: Path) -> None:
    facts = Facts(tmp_path)
    with pytest.raises(BadInput, match="no"):
        facts.learn(FILE, [hashed("md5"), Fact("refusing", refusing)], Store().pieces)


def test_what_a_crash_left_unfinished_is_learned_again(tmp_path: Path) -> None:
    store = Store()
    Facts(tmp_path).of(FILE, hashed("md5"), store.pieces)
    (kept,) = tmp_path.glob("*/*")
    for damaged in (b"", kept.read_bytes()[:-3], b"\0" * 100):
        kept.write_bytes(damaged)
        known = Facts(tmp_path).of(FILE, hashed("md5"), store.pieces)
        assert known == hashlib.md5(BODY).hexdigest().encode()
    assert store.passes == 4
    assert list(tmp_path.glob("*/*")) == [kept]


def test_what_nobody_asks_for_is_pruned(tmp_path: Path) -> None:
    facts = Facts(tmp_path)
    facts.of_content(b"old", hashed("md5"))
    facts.of_content(b"new", hashed("md5"))
    for path in tmp_path.glob("*/*"):
        os.utime(path, (0, 0))
    facts.of_content(b"new", hashed("md5"))
    assert facts.prune(30 * DAY_S) == 1
    assert [path.parent.name for path in tmp_path.glob("*/*")] == [
        hashlib.sha256(b"new").hexdigest()
    ]
    assert len(list(tmp_path.iterdir())) == 1
