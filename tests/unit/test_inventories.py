"""Inventories that are kept on this machine."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.inspection.inventory import Entry, Inventory, Kind, Mark, Program
from tasks.inspection.scan import scan
from tasks.inspection.stored import Inventories
from tasks.reporting import Silent

FILE = Entry(kind=Kind.FILE, mode=0o4755, uid=0, gid=8, size=3, mtime=1.5, content="00")


def inventory(number: int = 0, **changes: object) -> Inventory:
    digest = hashlib.sha256(b"%d" % number).hexdigest()
    made = Inventory(name="a.tar", sha256=digest, size_bytes=10, files={"/a": FILE})
    return replace(made, **changes)  # type: ignore[arg-type]


def refuse() -> Inventory:
    raise AssertionError("it is made again")


def test_an_inventory_is_made_once_and_comes_back_the_same(tmp_path: Path) -> None:
    made = inventory(
        programs={"/a": Program(machine="EM_RISCV", bits=64, needed=("libc.so.6",))},
        texts={"/etc/passwd": b"root\xff\0"},
        marks={"/a": (Mark.BUILD_PATH,)},
    )
    kept = Inventories(tmp_path / "inventories")
    assert kept.get(made.sha256) is None
    assert kept.of(made.sha256, lambda: made) == made
    assert Inventories(tmp_path / "inventories").of(made.sha256, refuse) == made


def test_names_that_are_no_text_come_back_the_same(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo(os.fsdecode(b"not-utf8-\xff\n")))
    made = scan(iter([stream.getvalue()]), name="a.tar", report=Silent())
    kept = Inventories(tmp_path)
    kept.put(made)
    assert kept.get(made.sha256) == made
    assert os.fsdecode(b"/not-utf8-\xff\n") in made.files


@pytest.mark.parametrize("damage", ["cut", "flip", "other", "empty"])
def test_a_damaged_one_is_made_again(tmp_path: Path, damage: str) -> None:
    kept, made = Inventories(tmp_path), inventory()
    kept.put(made)
    (path,) = tmp_path.iterdir()
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
    elif damage == "other":
        kept.put(inventory(1))
        (other,) = set(tmp_path.iterdir()) - {path}
        data = bytearray(other.read_bytes())
    path.write_bytes(data[: {"cut": len(data) // 2, "empty": 0}.get(damage)])
    assert kept.get(made.sha256) is None
    assert kept.of(made.sha256, lambda: made) == made
    assert kept.get(made.sha256) == made


def test_what_has_another_digest_is_not_kept(tmp_path: Path) -> None:
    kept = Inventories(tmp_path)
    assert kept.of("0" * 64, inventory) == inventory()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="no sha256"):
        kept.get("../../etc/passwd")


def test_only_their_owner_reads_them(tmp_path: Path) -> None:
    """They have texts such as /etc/shadow."""
    kept = Inventories(tmp_path / "inventories")
    kept.put(inventory())
    (path,) = kept.root.iterdir()
    assert stat.S_IMODE(kept.root.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_other_build_paths_make_another_inventory(tmp_path: Path) -> None:
    Inventories(tmp_path, build_paths=[b"/a", b"/b"]).put(inventory())
    assert Inventories(tmp_path).get(inventory().sha256) is None
    assert Inventories(tmp_path, build_paths=[b"/b", b"/a"]).get(inventory().sha256)


def test_those_used_least_recently_go(tmp_path: Path) -> None:
    kept = Inventories(tmp_path, count_max=2)
    for number in range(2):
        kept.put(inventory(number))
        path = next(tmp_path.glob(f"{inventory(number).sha256}*"))
        os.utime(path, (number, number))
    assert kept.get(inventory(0).sha256)
    kept.put(inventory(2))
    left = [number for number in range(3) if kept.get(inventory(number).sha256)]
    assert left == [0, 2]


MAKER = """
import sys
from pathlib import Path
from tasks.inspection.stored import Inventories
from tests.unit.test_inventories import FILE, inventory
root, made = Path(sys.argv[1]), Path(sys.argv[2])
def make():
    with made.open("a") as file:
        file.write("made ")
    return inventory(files={f"/{number}": FILE for number in range(20000)})
assert len(Inventories(root).of(inventory().sha256, make).files) == 20000
"""


def test_of_several_processes_one_makes_it(tmp_path: Path) -> None:
    words = [sys.executable, "-c", MAKER, str(tmp_path / "kept"), str(tmp_path / "made")]
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    running = [subprocess.Popen(words, env=environ) for _ in range(3)]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert (tmp_path / "made").read_text() == "made "
    assert len(list((tmp_path / "kept").iterdir())) == 1
