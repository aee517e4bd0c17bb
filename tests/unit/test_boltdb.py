"""anise's database: what is read of it, and what a hostile one can do."""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.artifacts.boltdb import Damaged, values
from tasks.artifacts.packages import ANISE, Package, installed
from tests import boltdb

BUCKET = b"DefaultPackage"
APP = {"id": 1, "name": "app", "category": "system", "version": "2.0", "requires": None}


@pytest.mark.parametrize("place", ANISE)
def test_the_packages_of_anise(tmp_path: Path, place: str) -> None:
    boltdb.write(tmp_path / place, [APP | {"repository": "main"}])
    assert installed(tmp_path) == [
        Package(manager="anise", name="app", category="system", version="2.0", repository="main")
    ]


def test_what_is_no_record_is_left_out(tmp_path: Path) -> None:
    deep = b'{"x":' * 100_000
    odd = [
        b"",
        b"no JSON",
        b"[]",
        b'{"name": 5}',
        deep,
        json.dumps(APP | {"name": "\x1b"}).encode(),
    ]
    file = tmp_path / ANISE[0]
    file.parent.mkdir(parents=True)
    file.write_bytes(boltdb.database([*odd, json.dumps(APP).encode()]))
    assert [package.full_name for package in installed(tmp_path)] == ["system/app"]


@pytest.mark.parametrize("count", [0, 1, 100, 3000])
@pytest.mark.parametrize("size", [10, 9000])
def test_all_pages_are_read_in_order(tmp_path: Path, count: int, size: int) -> None:
    records = [bytes([number % 251]) * size for number in range(count if size < 99 else count // 9)]
    file = tmp_path / "a.db"
    file.write_bytes(boltdb.database(records))
    assert values(file, BUCKET) == records
    assert values(file, b"other") == []


def test_the_newest_sound_state_counts(tmp_path: Path) -> None:
    file = tmp_path / "a.db"
    good = boltdb.database([b"record"])
    cut = good[:4096] + boltdb.meta(1, number=9, root=2)[:50].ljust(4096, b"x") + good[8192:]
    file.write_bytes(boltdb.meta(0, number=5, root=3) + cut[4096:])
    assert values(file, BUCKET) == [b"record"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "too short"),
        (b"x" * 100_000, "no BoltDB"),
        (boltdb.database([b"x"])[:9000], "beyond its end"),
        (boltdb.database([b"x"])[:12_300], "not whole"),
        (boltdb.meta(0, number=1, root=1) * 2, "no known kind"),
    ],
)
def test_what_is_no_sound_database_is_one_clear_error(
    tmp_path: Path, data: bytes, message: str
) -> None:
    file = tmp_path / ANISE[0]
    file.parent.mkdir(parents=True)
    file.write_bytes(data)
    notes: list[str] = []
    assert installed(tmp_path, notes.append) == []
    assert len(notes) == 1
    assert message in notes[0]


def test_pages_in_a_circle(tmp_path: Path) -> None:
    file = tmp_path / "a.db"
    circle = boltdb.padded(boltdb.branch(2, [(b"a", 3)]))
    back = boltdb.padded(boltdb.branch(3, [(b"a", 2)]))
    metas = boltdb.meta(0, number=1, root=2) + boltdb.meta(1, number=2, root=2)
    file.write_bytes(metas + circle + back)
    with pytest.raises(Damaged, match="circle"):
        values(file, BUCKET)


def test_a_value_given_again_and_again_is_not(tmp_path: Path) -> None:
    """65,000 keys whose value is the same megabyte would be 65 GB."""
    count, size = 65_000, 2 << 20
    elements = b"".join(
        struct.pack("<IIII", 0, 16 * (count - place), 0, size) for place in range(count)
    )
    leaf = boltdb.header(2, boltdb.LEAF, count, len(elements) + size + 16) + elements + bytes(size)
    metas = boltdb.meta(0, number=1, root=2) + boltdb.meta(1, number=2, root=2)
    file = tmp_path / "a.db"
    file.write_bytes(metas + boltdb.padded(leaf))
    with pytest.raises(Damaged, match="larger than the file"):
        values(file, BUCKET)


@given(st.integers(), st.integers(1, 40))
def test_any_damage_ends_in_an_answer(
    tmp_path_factory: pytest.TempPathFactory, seed: int, n: int
) -> None:
    chance = random.Random(seed)
    data = bytearray(boltdb.database([json.dumps(APP).encode()] * 200))
    for _ in range(n):
        data[chance.choice((chance.randrange(8192, 8300), chance.randrange(len(data))))] = (
            chance.randrange(256)
        )
    file = tmp_path_factory.mktemp("bolt") / ANISE[0]
    file.parent.mkdir(parents=True)
    file.write_bytes(data)
    installed(file.parents[3])
